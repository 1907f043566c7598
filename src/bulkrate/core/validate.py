"""Is this line fit to be sent? Every fault is found, with its code, its field and its line.

The codes are OpenAI's own where they are known. A line without the envelope of `custom_id`, `method`, `url`
and `body` is taken as a plain request body: its `custom_id` is then the line number and its `url` the batch's
endpoint.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from bulkrate.core.ambiguity import ENVELOPE, is_deep, repeated_key, seems_deep, seems_repeated
from bulkrate.core.lines import RawLine
from bulkrate.providers.endpoints import ENDPOINTS, Endpoint, normal_path


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a line cannot be sent. `custom_id` is its JSON as it stands in the line, if it could be read."""

    line: int
    code: str
    message: str
    param: str | None = None
    custom_id: bytes | None = None


class Fit(msgspec.Struct, frozen=True, gc=False):
    """A line that can be sent."""

    custom_id: str
    model: str
    inputs: int


class Request(msgspec.Struct, gc=False):
    """A line taken apart, every piece as it stands in the file."""

    custom_id: Raw | UnsetType = UNSET
    method: Raw | UnsetType = UNSET
    url: Raw | UnsetType = UNSET
    body: Raw | UnsetType = UNSET

    @property
    def plain(self) -> bool:
        """Whether the envelope is missing altogether."""
        return self.custom_id is UNSET and self.method is UNSET and self.url is UNSET and self.body is UNSET


class _Body(msgspec.Struct, gc=False):
    model: Raw | UnsetType = UNSET
    stream: Raw | UnsetType = UNSET
    messages: Raw | UnsetType = UNSET
    input: Raw | UnsetType = UNSET
    prompt: Raw | UnsetType = UNSET


class _GoodBody(msgspec.Struct, gc=False):
    model: str
    stream: UnsetType = UNSET
    messages: Raw | UnsetType = UNSET
    input: Raw | UnsetType = UNSET
    prompt: Raw | UnsetType = UNSET


class _GoodRequest(msgspec.Struct, gc=False):
    """What nearly every line looks like."""

    custom_id: str
    method: Literal["POST"]
    url: str
    body: _GoodBody


_good_request = msgspec.json.Decoder(_GoodRequest)
_request = msgspec.json.Decoder(Request)
_body = msgspec.json.Decoder(_Body)
_string = msgspec.json.Decoder(str)
_list = msgspec.json.Decoder(list[Raw])


class LineChecker:
    """Checks the lines of one batch.

    `serves` says whether some upstream serves a model; `known_models` is what to name when none does.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        serves: Callable[[str], bool],
        known_models: Callable[[], str],
        custom_id_chars_max: int,
        line_bytes_max: int,
    ) -> None:
        self._endpoint: Endpoint = ENDPOINTS[endpoint]
        self._serves = serves
        self._known_models = known_models
        self._custom_id_chars_max = custom_id_chars_max
        self._line_bytes_max = line_bytes_max
        self._url_raw = json.dumps(endpoint).encode()

    def check(self, line: RawLine) -> Fit | list[Fault]:
        """What the line asks for, or everything that is wrong with it."""
        return self._quickly(line.data) or self._thoroughly(line)

    def _quickly(self, data: bytes | None) -> Fit | None:
        """A line without a doubt in it, read once; a third of the time. None for all others."""
        if data is None or seems_deep(data) or seems_repeated(data):
            return None
        try:
            if not data.isascii():
                data.decode("utf-8")
            request = _good_request.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        body = request.body
        needed = self._endpoint.required
        value: Raw | UnsetType = getattr(body, needed) if needed is not None else Raw(b"")
        good = (
            len(request.custom_id) <= self._custom_id_chars_max
            and request.url == self._endpoint.path
            and body.model
            and not isinstance(value, UnsetType)
            and (needed != "messages" or bytes(value).startswith(b"["))
            and self._serves(body.model)
        )
        if not good:
            return None
        inputs = _count_inputs(bytes(value)) if needed == "input" and isinstance(value, Raw) else 0
        return Fit(request.custom_id, body.model, inputs)

    def _thoroughly(self, line: RawLine) -> Fit | list[Fault]:  # noqa: PLR0911  # one way out per kind of line
        number, data = line.number, line.data
        if data is None:
            return [
                Fault(
                    number,
                    "invalid_request",
                    f"Line {number} has {line.length} bytes; a line may have {self._line_bytes_max}.",
                )
            ]
        try:
            if not data.isascii():
                data.decode("utf-8")
            request = _request.decode(data)
            if is_deep(data):
                raise RecursionError
        except msgspec.ValidationError:
            return [Fault(number, "invalid_request", f"Line {number} is not a JSON object.")]
        except UnicodeDecodeError as cause:
            message = f"Line {number} is not valid UTF-8 at its byte {cause.start + 1}."
            return [Fault(number, "invalid_json_line", message)]
        except (msgspec.DecodeError, RecursionError) as cause:
            detail = "it is nested too deeply" if isinstance(cause, RecursionError) else str(cause)
            message = f"Line {number} is not valid JSON: {detail}."
            return [Fault(number, "invalid_json_line", message)]
        repeated = repeated_key(data)
        if repeated:
            message = f'Line {number} has the key "{repeated}" more than once.'
            return [Fault(number, "invalid_json_line", message, repeated)]
        if request.plain:
            body = _body.decode(data)
            if body.model is not UNSET:
                return self._check_body(number, str(number), None, body, plain=True)
        return self._check_request(number, request)

    def _check_request(self, number: int, request: Request) -> Fit | list[Fault]:
        raw_id = bytes(request.custom_id) if not isinstance(request.custom_id, UnsetType) else None
        faults = [
            Fault(number, "missing_required_parameter", f"Line {number} has no '{key}'.", key, raw_id)
            for key in ENVELOPE
            if getattr(request, key) is UNSET
        ]
        custom_id = ""
        if raw_id is not None:
            custom_id, fault = self._read_custom_id(number, raw_id)
            faults += fault
        if not isinstance(request.method, UnsetType) and bytes(request.method) != b'"POST"':
            message = f"Line {number}: 'method' must be \"POST\", found {_brief(request.method)}."
            faults.append(Fault(number, "invalid_value", message, "method", raw_id))
        if not isinstance(request.url, UnsetType) and not self._is_endpoint(bytes(request.url)):
            message = (
                f"Line {number}: 'url' must be the batch's endpoint {self._endpoint.path}, "
                f"found {_brief(request.url)}."
            )
            faults.append(Fault(number, "invalid_url", message, "url", raw_id))
        if isinstance(request.body, UnsetType):
            return faults
        try:
            body = _body.decode(request.body)
        except msgspec.ValidationError:
            message = f"Line {number}: 'body' must be an object, found {_kind(request.body)}."
            return [*faults, Fault(number, "invalid_type", message, "body", raw_id)]
        checked = self._check_body(number, custom_id, raw_id, body)
        if isinstance(checked, list):
            return faults + checked
        return faults or checked

    def _read_custom_id(self, number: int, raw: bytes) -> tuple[str, list[Fault]]:
        try:
            custom_id = _string.decode(raw)
        except msgspec.DecodeError:
            message = f"Line {number}: 'custom_id' must be a string, found {_brief(Raw(raw))}."
            return "", [Fault(number, "invalid_type", message, "custom_id", raw)]
        if len(custom_id) > self._custom_id_chars_max:
            most = self._custom_id_chars_max
            message = f"Line {number}: 'custom_id' has {len(custom_id)} characters; it may have {most}."
            return custom_id, [Fault(number, "invalid_value", message, "custom_id", None)]
        return custom_id, []

    def _check_body(
        self, number: int, custom_id: str, raw_id: bytes | None, body: _Body, *, plain: bool = False
    ) -> Fit | list[Fault]:
        at = "" if plain else "body."
        faults: list[Fault] = []

        def blame(code: str, message: str, field: str) -> None:
            faults.append(Fault(number, code, f"Line {number}: {message}", at + field, raw_id))

        model = ""
        if isinstance(body.model, UnsetType) or bytes(body.model) == b'""':
            if self._endpoint.model_required:
                blame("invalid_request", "the body has no 'model'.", "model")
        elif not bytes(body.model).startswith(b'"'):
            blame("invalid_request", f"'model' must be a string, found {_brief(body.model)}.", "model")
        else:
            model = _string.decode(body.model)
            if not self._serves(model):
                blame(
                    "model_not_found",
                    f"no upstream serves the model '{model}'; {self._known_models()}",
                    "model",
                )
        if not isinstance(body.stream, UnsetType) and bytes(body.stream) == b"true":
            blame("streaming_unsupported", "'stream' cannot be used in a batch; leave it out.", "stream")
        needed = self._endpoint.required
        inputs = 0
        if needed is not None:
            value = getattr(body, needed)
            if value is UNSET:
                blame(
                    "invalid_request",
                    f"the body has no '{needed}', which {self._endpoint.path} needs.",
                    needed,
                )
            elif needed == "messages" and not bytes(value).startswith(b"["):
                blame("invalid_request", f"'messages' must be a list, found {_kind(value)}.", needed)
            elif needed == "input":
                inputs = _count_inputs(bytes(value))
        return faults or Fit(custom_id, model, inputs)

    def _is_endpoint(self, raw: bytes) -> bool:
        if raw == self._url_raw:
            return True
        try:
            return normal_path(_string.decode(raw)) == self._endpoint.path
        except msgspec.DecodeError:
            return False


def take_apart(data: bytes) -> tuple[bytes | None, bytes]:
    """The `custom_id` (as JSON; None for a plain body) and the body of a line that was found fit."""
    request = _request.decode(data)
    if isinstance(request.body, UnsetType) or isinstance(request.custom_id, UnsetType):
        return None, data
    return bytes(request.custom_id), bytes(request.body)


def _count_inputs(raw: bytes) -> int:
    """How many texts an embedding line embeds: one string or one list of tokens is one."""
    if not raw.startswith(b"["):
        return 1
    items = _list.decode(raw)
    return len(items) if items and bytes(items[0])[:1] in (b'"', b"[") else 1


def _brief(raw: Raw) -> str:
    """A value small enough to quote, or only its kind."""
    data = bytes(raw)
    return data.decode("utf-8") if len(data) <= 40 and data.startswith(b'"') else _kind(raw)


def _kind(raw: Raw) -> str:
    """What kind of value it is. Nothing is quoted where a prompt may stand: those never go into messages."""
    data = bytes(raw)
    kind = {b'"': "a string", b"{": "an object", b"[": "a list"}.get(data[:1])
    return kind or data[:20].decode("utf-8")

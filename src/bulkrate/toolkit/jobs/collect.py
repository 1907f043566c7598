"""Lines of output and error files, read back into what they mean for their rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from bulkrate.providers.usage import NO_USAGE, Usage, read_usage
from bulkrate.toolkit import json_text
from bulkrate.toolkit.jobs.answers import Outcome, Status
from bulkrate.toolkit.jobs.requests import rows_in
from bulkrate.toolkit.recipes import said
from bulkrate.toolkit.recipes.base import Recipe, Value
from bulkrate.toolkit.rows.snapshot import encoded
from bulkrate.toolkit.rows.table import Row

#: HTTP statuses of a line that may do better another time.
_PASSING_STATUSES = {408, 409, 425, 429, 499}
#: Error codes of lines without an answer that may do better another time: ours, OpenAI's and Anthropic's.
_PASSING_CODES = {
    "batch_expired",
    "batch_cancelled",
    "unreachable",
    "key_refused",
    "busy",
    "upstream_error",
    "request_timeout",
    "connection_lost",
    "invalid_answer",
    "missing",
    "validation_failed",
    "rate_limit_exceeded",
    "server_error",
}


#: The code of an answer that is not as asked, and of one that the model did not want to give.
INVALID, REFUSED = "invalid_output", "refused"
_REFUSALS = {said.REFUSED, said.WITHHELD}
_NULL = Raw(b"null")


class _Line(msgspec.Struct):
    custom_id: str
    response: Raw = _NULL
    error: Raw = _NULL
    delegated: Any = None


class _Response(msgspec.Struct):
    status_code: int = 0
    body: Raw = _NULL


class _Error(msgspec.Struct):
    code: str | None = None
    message: str | None = None


class _ErrorBody(msgspec.Struct):
    error: _Error | str | None = None


_line = msgspec.json.Decoder(_Line)
_response = msgspec.json.Decoder(_Response)
_error = msgspec.json.Decoder(_Error)
_error_body = msgspec.json.Decoder(_ErrorBody)


class Collector:
    """Reads result lines of one job. `row_of` gives a row as it was read, `model_of` the model it was for;
    `rows` is how many there are.
    """

    def __init__(
        self, recipe: Recipe, row_of: Callable[[int], Row], model_of: Callable[[Row], str], rows: int
    ) -> None:
        self.strange = 0
        self._recipe = recipe
        self._row_of = row_of
        self._model_of = model_of
        self._rows = rows

    def read(self, line: bytes, model: str | None) -> tuple[list[Outcome], Usage]:
        """What a line says of each of its rows, and the tokens it took.

        `model` is whom it was sent to, if that is not the rows' own. A line that is not ours is counted as
        strange and says nothing.
        """
        try:
            found = _decoded(line)
            numbers = rows_in(found.custom_id)
        except (msgspec.MsgspecError, ValueError):
            self.strange += 1
            return [], NO_USAGE
        if not 0 <= numbers[0] <= numbers[-1] < self._rows or len(numbers) > self._recipe.rows_per_request:
            self.strange += 1
            return [], NO_USAGE
        response = _response_in(found)
        if response is None:
            return self._failed(numbers, *_said(found.error), found), NO_USAGE
        if 200 <= response.status_code < 300:
            return self._answered(numbers, bytes(response.body), model, found)
        code, message = _said_in_body(bytes(response.body), response.status_code)
        passing = response.status_code in _PASSING_STATUSES or response.status_code >= 500
        return self._failed(numbers, code, message, found, passing=passing), NO_USAGE

    def _answered(
        self, numbers: range, body: bytes, model: str | None, found: _Line
    ) -> tuple[list[Outcome], Usage]:
        rows = [self._row_of(number) for number in numbers]
        model = model or self._model_of(rows[0])
        try:
            usage = read_usage(body)
        except ValueError:
            usage = NO_USAGE
        outcomes = []
        for number, reading, share in zip(
            numbers, self._recipe.read(body, rows), _shares(usage, len(rows)), strict=True
        ):
            outcome = Outcome(
                row=number,
                status=Status.ANSWERED,
                cells=self._whole(found),
                model=model,
                input_tokens=share.input_tokens,
                cached_tokens=share.cached_tokens,
                output_tokens=share.output_tokens,
                delegated=found.delegated if isinstance(found.delegated, str) else None,
            )
            if isinstance(reading, Value):
                cells = outcome.cells or encoded(reading.cells, number)
                told = replace(outcome, cells=cells, confidence=reading.confidence)
            else:
                told = replace(
                    outcome,
                    status=Status.INVALID,
                    code=REFUSED if reading.fault in _REFUSALS else INVALID,
                    message=reading.fault,
                    text=reading.text,
                    retryable=True,
                )
            outcomes.append(told)
        return outcomes, usage

    def _failed(
        self, numbers: range, code: str, message: str, found: _Line, *, passing: bool | None = None
    ) -> list[Outcome]:
        retryable = code in _PASSING_CODES if passing is None else passing
        return [
            Outcome(
                row=number,
                status=Status.FAILED,
                cells=self._whole(found),
                code=code,
                message=message,
                retryable=retryable,
                alone=len(numbers) > 1 and not retryable,
            )
            for number in numbers
        ]

    def _whole(self, found: _Line) -> bytes | None:
        """For requests that are run as they are: the result as it came."""
        if self._recipe.name != "requests":
            return None
        return encoded({"response": bytes(found.response), "error": bytes(found.error)}, 0)


def lines_in(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The lines, each with its line break, of bytes that come in pieces. The last may lack its break."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line + b"\n"
    if rest:
        yield rest


def _decoded(line: bytes) -> _Line:
    """A line. Raises `msgspec.MsgspecError`, `ValueError`.

    A model may write half of a surrogate pair, or a cut character: that is lost, and not what was paid for.
    """
    try:
        if not line.isascii():
            line.decode()  # what is passed on as it stands is not looked into below
        return _line.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _line.decode(json_text.encode(json_text.decode(line.decode(errors="replace"))))


def _response_in(found: _Line) -> _Response | None:
    try:
        return _response.decode(found.response)
    except msgspec.MsgspecError:
        return None  # most often null: the line has no HTTP answer


def _said(error: Raw) -> tuple[str, str]:
    try:
        told = _error.decode(error)
    except msgspec.MsgspecError:
        told = _Error()
    return told.code or "missing", told.message or "the server said no reason"


def _said_in_body(body: bytes, status: int) -> tuple[str, str]:
    try:
        told = _error_body.decode(body).error
    except msgspec.MsgspecError:
        told = None
    if isinstance(told, str):
        return f"http_{status}", told
    if told is None:
        return f"http_{status}", f"the upstream answered {status}"
    return told.code or f"http_{status}", told.message or f"the upstream answered {status}"


def _shares(usage: Usage, parts: int) -> Sequence[Usage]:
    """`usage` in equal parts; what cannot be parted goes to the first."""
    if parts == 1:
        return [usage]
    each = Usage(
        usage.input_tokens // parts, usage.cached_tokens // parts, usage.output_tokens // parts, 0, 0
    )
    first = Usage(
        usage.input_tokens - each.input_tokens * (parts - 1),
        usage.cached_tokens - each.cached_tokens * (parts - 1),
        usage.output_tokens - each.output_tokens * (parts - 1),
        0,
        0,
    )
    return [first, *[each] * (parts - 1)]

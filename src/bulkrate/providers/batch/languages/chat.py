"""Reading OpenAI's requests for translation, so that nothing in them is lost.

Every field is taken by whoever translates it, harmless (`HARMLESS` says why), or refused by its name. A null
is an absent field, as it is for OpenAI.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, NoReturn

import msgspec

from bulkrate.providers.batch.base import Untranslatable

#: Fields that say nothing about the answer, and why they may stay behind.
HARMLESS: Mapping[str, str] = {
    "user": "names the end user to OpenAI's abuse monitoring",
    "safety_identifier": "names the end user to OpenAI's abuse monitoring",
    "store": "asks OpenAI to keep the answer in its dashboard",
    "metadata": "labels what OpenAI keeps in its dashboard",
    "prompt_cache_key": "tells OpenAI's cache which prompts are alike",
    "prompt_cache_retention": "tells OpenAI's cache how long to keep a prompt",
    "prompt_cache_options": "tells OpenAI's cache what to keep",
    "service_tier": "chooses among OpenAI's tiers; a batch is a tier of its own",
    "prediction": "speeds up an answer that is known in part; the answer is the same",
    "stream_options": "says what a stream ends with; a batch never streams",
}
#: Keys that answers have and that come back in the messages of a conversation; they ask for nothing.
_ECHOES = {"annotations"}

_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[\w.+-]+=[\w.+-]+)*;base64,(.*)", re.DOTALL)
Role = Literal["system", "user", "assistant", "tool"]
# What a role is to us, and the keys that its messages have.
_MESSAGES: Mapping[str, tuple[Role, set[str]]] = {
    "system": ("system", {"role", "content"}),
    "developer": ("system", {"role", "content"}),
    "user": ("user", {"role", "content"}),
    "assistant": ("assistant", {"role", "content", "refusal", "tool_calls"}),
    "tool": ("tool", {"role", "content", "tool_call_id"}),
}
# Without these there is nothing to ask.
_ESSENTIAL = {"messages", "model", "input"}
_WAY_OUT = '; take it out of the line, or set drop_fields = ["{field}"] to send all lines without it'
# A hint about where a cached prompt may end; it changes nothing in the answer.
_PART_HINTS = {"prompt_cache_breakpoint"}


class Text(msgspec.Struct, frozen=True):
    """A piece of text."""

    text: str


class Image(msgspec.Struct, frozen=True):
    """A picture: either at a `url`, or as base64 `data` of a `media_type`. `detail` says how closely to look,
    None when nothing is said.
    """

    place: str
    url: str = ""
    media_type: str = ""
    data: str = ""
    detail: str | None = None


Part = Text | Image


class ToolCall(msgspec.Struct, frozen=True):
    """A call that the assistant made. `arguments` is JSON as text; `extra` is what a vendor hung on it."""

    id: str
    name: str
    arguments: str
    place: str
    extra: Mapping[str, Any] = {}


class Message(msgspec.Struct, frozen=True):
    """A turn of the conversation; developer messages are system messages. `place` names it in errors."""

    role: Role
    parts: tuple[Part, ...]
    place: str
    calls: tuple[ToolCall, ...] = ()
    call_id: str = ""

    @property
    def text(self) -> str:
        """All its text."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))


class Tool(msgspec.Struct, frozen=True):
    """A function that may be called."""

    name: str
    description: str | None
    parameters: dict[str, Any] | None
    strict: bool | None


class Schema(msgspec.Struct, frozen=True):
    """The JSON that the answer must be: any object, or one of this `schema`."""

    schema: dict[str, Any] | None
    name: str | None = None
    description: str | None = None
    strict: bool | None = None

    @property
    def described(self) -> dict[str, Any] | None:
        """The schema with the description in it, for vendors that have no other place for it."""
        if self.schema is None or self.description is None:
            return self.schema
        own = self.schema.get("description")
        whole = f"{self.description}\n\n{own}" if isinstance(own, str) else self.description
        return self.schema | {"description": whole}


class Fields:
    """The fields of a request. What has been taken is gone; `finish` refuses what nobody took."""

    def __init__(self, body: bytes, vendor: str) -> None:
        self._vendor = vendor
        try:
            fields = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
            raise Untranslatable("body", "the body is not JSON") from cause
        if not isinstance(fields, dict):
            raise Untranslatable("body", "the body is not a JSON object")
        self._fields = {name: value for name, value in fields.items() if value is not None}

    def refuse(self, param: str, why: str) -> NoReturn:
        """Say that `param` cannot be expressed."""
        field = re.split(r"[.\[]", param, maxsplit=1)[0]
        way_out = "" if field in _ESSENTIAL else _WAY_OUT.format(field=field)
        raise Untranslatable(param, f"{self._vendor} {why}{way_out}")

    def take(self, name: str) -> Any:
        """The field, or None."""
        return self._fields.pop(name, None)

    def model(self) -> str:
        """The model, which every line must name."""
        return self.text("model") or self.refuse("model", "wants a model in each line")

    def text(self, name: str) -> str | None:
        """A field that is a text."""
        value = self.take(name)
        if value is not None and not isinstance(value, str):
            self.refuse(name, "wants a text here")
        return value

    def number(self, name: str, *, low: float | None = None, high: float | None = None) -> float | int | None:
        """A field that is a number, within what the vendor takes."""
        value = self.take(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse(name, "wants a number here")
        if (low is not None and value < low) or (high is not None and value > high):
            self.refuse(name, f"takes numbers from {low:g} to {high:g}, not {value:g}")
        return value

    def whole(self, name: str) -> int | None:
        """A field that is a whole number."""
        value = self.take(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            self.refuse(name, "wants a whole number here")
        return value

    def flag(self, name: str) -> bool | None:
        """A field that is true or false."""
        value = self.take(name)
        if value is not None and not isinstance(value, bool):
            self.refuse(name, "wants true or false here")
        return value

    def texts(self, name: str) -> list[str]:
        """A field that is a text or a list of texts."""
        value = self.take(name)
        texts = [value] if isinstance(value, str) else value or []
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            self.refuse(name, "wants a text or a list of texts here")
        return texts

    def only(self, name: str, *allowed: Any) -> None:
        """Take a field that cannot be expressed, but for values that ask for what happens anyway."""
        value = self.take(name)
        if value is not None and value not in allowed:
            self.refuse(name, "has no word for this")

    def max_tokens(self) -> int | None:
        """How long the answer may be, by OpenAI's new name for it or the old one."""
        new, old = self.whole("max_completion_tokens"), self.whole("max_tokens")
        return new if new is not None else old

    def finish(self) -> None:
        """Refuse the first field that is left, is not harmless and asks for something."""
        self.only("stream", False)
        self.only("modalities", ["text"])
        self.only("verbosity", "medium")
        for name in self._fields:
            if name not in HARMLESS:
                self.refuse(name, "has no word for this")

    # Messages

    def messages(self) -> tuple[Message, ...]:
        """The conversation."""
        messages = self.take("messages")
        if not isinstance(messages, list) or not messages:
            raise Untranslatable("messages", "there must be at least one message")
        return tuple(self._message(message, f"messages[{index}]") for index, message in enumerate(messages))

    def _message(self, message: Any, place: str) -> Message:
        name = message.get("role") if isinstance(message, dict) else None
        known = _MESSAGES.get(name) if isinstance(name, str) else None
        if known is None:
            self.refuse(f"{place}.role", f"takes messages of {', '.join(_MESSAGES)}")
        role, keys = known
        for key, value in message.items():
            if key not in keys and value not in (None, [], {}) and key not in _ECHOES:
                self.refuse(f"{place}.{key}", "has no word for this")
        parts = self._parts(message.get("content"), f"{place}.content")
        refusal = message.get("refusal")
        if refusal:
            parts = (*parts, Text(self._str(refusal, f"{place}.refusal")))
        if role == "tool":
            call_id = self._str(message.get("tool_call_id"), f"{place}.tool_call_id")
            return Message(role, parts, place, call_id=call_id)
        calls = message.get("tool_calls") or []
        if not isinstance(calls, list):
            self.refuse(f"{place}.tool_calls", "wants a list here")
        read = tuple(self._call(call, f"{place}.tool_calls[{index}]") for index, call in enumerate(calls))
        return Message(role, parts, place, calls=read)

    def _parts(self, content: Any, place: str) -> tuple[Part, ...]:
        if content is None:
            return ()
        if isinstance(content, str):
            return (Text(content),)
        if not isinstance(content, list):
            self.refuse(place, "wants a text or a list of parts here")
        return tuple(self._part(part, f"{place}[{index}]") for index, part in enumerate(content))

    def _part(self, part: Any, place: str) -> Part:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in {"text", "refusal"}:
            self._no_more(part, place, {"type", kind})
            return Text(self._str(part.get(kind), f"{place}.{kind}"))
        if kind != "image_url":
            self.refuse(place, f"takes text and pictures here, not {str(kind)[:40]!r}")
        self._no_more(part, place, {"type", kind})
        given, detail = part.get("image_url"), None
        if isinstance(given, dict):
            self._no_more(given, f"{place}.image_url", {"url", "detail"})
            if given.get("detail") not in (None, "auto"):
                detail = self._str(given.get("detail"), f"{place}.image_url.detail")
            given = given.get("url")
        url = self._str(given, f"{place}.image_url.url")
        found = _DATA_URL.fullmatch(url)
        if found is not None:
            return Image(place, media_type=found[1].lower(), data=found[2], detail=detail)
        if not url.startswith(("https://", "http://")):
            self.refuse(f"{place}.image_url.url", "takes pictures as https:// or data: URLs")
        return Image(place, url=url, detail=detail)

    def _call(self, call: Any, place: str) -> ToolCall:
        if not isinstance(call, dict) or call.get("type", "function") != "function":
            self.refuse(place, "takes calls of functions only")
        self._no_more(call, place, {"type", "id", "function", "index", "extra_content"})
        function = call.get("function")
        if not isinstance(function, dict):
            self.refuse(f"{place}.function", "wants a name and arguments here")
        self._no_more(function, f"{place}.function", {"name", "arguments"})
        extra = call.get("extra_content")
        return ToolCall(
            self._str(call.get("id"), f"{place}.id"),
            self._str(function.get("name"), f"{place}.function.name"),
            self._str(function.get("arguments", ""), f"{place}.function.arguments"),
            place,
            extra if isinstance(extra, dict) else {},
        )

    def arguments(self, call: ToolCall) -> dict[str, Any]:
        """The arguments of a call as an object."""
        try:
            value = msgspec.json.decode(call.arguments) if call.arguments.strip() else {}
        except (msgspec.DecodeError, RecursionError):
            value = None
        if not isinstance(value, dict):
            self.refuse(f"{call.place}.function.arguments", "takes arguments that are a JSON object")
        return value

    # Tools

    def tools(self) -> tuple[Tool, ...]:
        """The functions that may be called."""
        tools = self.take("tools") or []
        if not isinstance(tools, list):
            self.refuse("tools", "wants a list here")
        return tuple(self._tool(tool, f"tools[{index}]") for index, tool in enumerate(tools))

    def _tool(self, tool: Any, place: str) -> Tool:
        if not isinstance(tool, dict) or tool.get("type") != "function":
            self.refuse(place, "takes functions only")
        self._no_more(tool, place, {"type", "function"})
        function = tool.get("function")
        if not isinstance(function, dict):
            self.refuse(f"{place}.function", "wants a name here")
        self._no_more(function, f"{place}.function", {"name", "description", "parameters", "strict"})
        parameters = function.get("parameters")
        if parameters is not None and not isinstance(parameters, dict):
            self.refuse(f"{place}.function.parameters", "wants a JSON schema here")
        description = self._str_or_none(function.get("description"), f"{place}.function.description")
        strict = function.get("strict")
        return Tool(
            self._str(function.get("name"), f"{place}.function.name"),
            description,
            parameters,
            strict if isinstance(strict, bool) else None,
        )

    def tool_choice(self) -> str | Tool | None:
        """`auto`, `none`, `required`, the one function that must be called, or None when nothing is said."""
        choice = self.take("tool_choice")
        if choice is None or choice in ("auto", "none", "required"):
            return choice  # type: ignore[no-any-return]  # one of three texts, or None
        function = choice.get("function") if isinstance(choice, dict) else None
        if not isinstance(function, dict) or choice.get("type") != "function":
            self.refuse("tool_choice", "takes auto, none, required or one function")
        self._no_more(choice, "tool_choice", {"type", "function"})
        self._no_more(function, "tool_choice.function", {"name"})
        return Tool(self._str(function.get("name"), "tool_choice.function.name"), None, None, None)

    def response_format(self) -> Schema | None:
        """The JSON that the answer must be; None for plain text."""
        given = self.take("response_format")
        if given is None:
            return None
        kind = given.get("type") if isinstance(given, dict) else None
        if kind not in ("text", "json_object", "json_schema"):
            self.refuse("response_format", "takes text, json_object or json_schema")
        self._no_more(
            given, "response_format", {"type", "json_schema"} if kind == "json_schema" else {"type"}
        )
        if kind != "json_schema":
            return Schema(None) if kind == "json_object" else None
        place, wanted = "response_format.json_schema", given.get("json_schema")
        if not isinstance(wanted, dict):
            self.refuse(place, "wants a name and a schema here")
        self._no_more(wanted, place, {"name", "description", "schema", "strict"})
        schema, strict = wanted.get("schema"), wanted.get("strict")
        if not isinstance(schema, dict):
            self.refuse(f"{place}.schema", "wants a JSON schema here")
        return Schema(
            schema,
            self._str_or_none(wanted.get("name"), f"{place}.name"),
            self._str_or_none(wanted.get("description"), f"{place}.description"),
            strict if isinstance(strict, bool) else None,
        )

    def _str(self, value: Any, place: str) -> str:
        if not isinstance(value, str):
            self.refuse(place, "wants a text here")
        return value

    def _str_or_none(self, value: Any, place: str) -> str | None:
        return None if value is None else self._str(value, place)

    def _no_more(self, given: Mapping[str, Any], place: str, keys: set[str]) -> None:
        for key, value in given.items():
            if key not in keys and value is not None and key not in _PART_HINTS:
                self.refuse(f"{place}.{key}", "has no word for this")

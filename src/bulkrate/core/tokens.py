"""How many tokens a request takes and how many its answer may have.

Walks a request body as its endpoint reads it and adds up what counts: texts, OpenAI's overhead per message,
tools and schemas as text, images by their rule. What texts weigh is asked of a counter, which guesses or
knows. Output cannot be known before: there is a ceiling where the body sets one, and a likely figure that
says what it rests on. Reads nothing but the body.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from bulkrate.core.guess import Guess, Vocabulary
from bulkrate.core.images import image_tokens
from bulkrate.errors import InvalidRequest
from bulkrate.providers.endpoints import normal_path

#: Says how many tokens a text has.
TextCounter = Callable[[str, Vocabulary], Guess]

# OpenAI's published overhead: three tokens a message, one for a name, three that begin the answer
# (cookbook, "How to count tokens").
_PER_MESSAGE = 3
_PER_NAME = 1
_PER_ANSWER = 3
# Tools and schemas are rewritten before the model reads them, in a form that is not published.
_REWRITTEN_DOUBT = 0.3
# What /v1/completions writes when nothing is said.
_COMPLETION_TOKENS_MAX = 16

# Likely lengths of answers, where nothing was measured. They are guesses, and are told as such.
_OPEN_ANSWER = 250
_THINKING = 800
_STRING_IN_SCHEMA = 15
_NUMBER_IN_SCHEMA = 3
_SHORT_KINDS = ("number", "integer", "boolean", "null")
_ENUM_IN_SCHEMA = 3
_KEY_IN_SCHEMA = 4
_ITEMS_IN_SCHEMA = 3
_SCHEMA_DEPTH_MAX = 8
# A guess may be so many times too high or too low.
_GUESS_SPREAD = 4

# Names of OpenAI's models, by tokeniser.
_CL100K = re.compile(r"gpt-4(?![\do.])|gpt-3|text-embedding-")
_O200K = re.compile(r"gpt-(?!2|j|neo)|o\d|chatgpt-|codex-|computer-use|omni-moderation")

_SILENT = {"/v1/embeddings", "/v1/moderations"}
_TIERS = {"flex", "priority"}


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one request.

    `output_max` is the ceiling that the body sets, None when it sets none. `output_basis` says what the
    likely output rests on. `uncounted` are parts that cannot be counted (audio, files). `tier` is the
    `service_tier` asked for, None for the standard one.
    """

    input: Guess
    output: Guess
    output_max: int | None
    output_basis: str
    uncounted: int = 0
    tier: str | None = None


def vocabulary_of(model: str) -> Vocabulary:
    """Which tokeniser a model has, by its name."""
    name = _bare(model)
    if _CL100K.match(name):
        return Vocabulary.CL100K
    return Vocabulary.O200K if _O200K.match(name) else Vocabulary.OTHER


def _bare(model: str) -> str:
    """The name without provider, tag or the owner of a fine-tuned model."""
    name = model.removeprefix("ft:").rpartition("/")[2]
    first, _, second = name.partition(":")
    return second if _CL100K.match(second) or _O200K.match(second) else first


def request_tokens(body: Mapping[str, Any] | bytes, endpoint: str, count: TextCounter) -> Tokens:
    """The tokens of a request to `endpoint`. Raises `InvalidRequest` when `body` is no JSON object."""
    if isinstance(body, bytes):
        try:
            body = msgspec.json.decode(body, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
            raise InvalidRequest(f"the body of the request is no JSON object: {cause}") from cause
    path = normal_path(endpoint)
    model = body.get("model")
    tally = _Tally(model if isinstance(model, str) else "", count)
    if path == "/v1/chat/completions":
        _read_chat(body, tally)
    elif path == "/v1/responses":
        _read_response(body, tally)
    else:
        for field in ("input", "prompt"):
            _read_inputs(body.get(field), tally)
    output, ceiling, basis = _output(body, path, tally)
    tier = body.get("service_tier")
    return Tokens(
        input=Guess(tally.low, tally.likely, tally.high),
        output=output,
        output_max=ceiling,
        output_basis=basis,
        uncounted=tally.uncounted,
        tier=tier if isinstance(tier, str) and tier in _TIERS else None,
    )


class _Tally:
    """What has been counted so far."""

    def __init__(self, model: str, count: TextCounter) -> None:
        self.name = _bare(model)
        self.low = self.likely = self.high = self.uncounted = 0
        self._vocabulary = vocabulary_of(model)
        self._count = count

    def exactly(self, tokens: int) -> None:
        self.add(Guess(tokens, tokens, tokens))

    def text(self, text: object, doubt: float = 0.0) -> None:
        """A text, or any JSON value, which is counted as it is written."""
        if text is None or text in ("", [], {}):
            return
        written = text if isinstance(text, str) else msgspec.json.encode(text).decode()
        found = self._count(written, self._vocabulary)
        if doubt:
            found = Guess(round(found.low * (1 - doubt)), found.likely, round(found.high * (1 + doubt)))
        self.add(found)

    def image(self, url: object, detail: object) -> None:
        told = detail if isinstance(detail, str) else None
        self.add(image_tokens(self.name, url if isinstance(url, str) else "", told))

    def add(self, guess: Guess) -> None:
        self.low += guess.low
        self.likely += guess.likely
        self.high += guess.high


def _read_chat(body: Mapping[str, Any], tally: _Tally) -> None:
    for message in _dicts(body.get("messages")):
        tally.exactly(_PER_MESSAGE)
        if isinstance(message.get("name"), str):
            tally.exactly(_PER_NAME)
            tally.text(message["name"])
        tally.text(message.get("role"))
        _read_content(message.get("content"), tally)
        tally.text(message.get("tool_calls"), _REWRITTEN_DOUBT)
    tally.exactly(_PER_ANSWER)
    for field in ("tools", "functions"):
        tally.text(body.get(field), _REWRITTEN_DOUBT)
    tally.text(_chat_schema(body), _REWRITTEN_DOUBT)


def _read_response(body: Mapping[str, Any], tally: _Tally) -> None:
    if body.get("instructions") is not None:
        tally.exactly(_PER_MESSAGE)
        tally.text(body["instructions"])
    if isinstance(body.get("input"), str):
        tally.exactly(_PER_MESSAGE)
        tally.text(body["input"])
    for item in _dicts(body.get("input")):
        tally.exactly(_PER_MESSAGE)
        if "content" in item:
            tally.text(item.get("role"))
            _read_content(item["content"], tally)
        else:
            tally.text(item, _REWRITTEN_DOUBT)
    tally.exactly(_PER_ANSWER)
    tally.text(body.get("tools"), _REWRITTEN_DOUBT)
    tally.text(_response_schema(body), _REWRITTEN_DOUBT)


def _read_content(content: object, tally: _Tally) -> None:
    """A string, or parts of several kinds."""
    if isinstance(content, str):
        tally.text(content)
    for part in _dicts(content):
        kind = part.get("type")
        if isinstance(part.get("text"), str):
            tally.text(part["text"])
        elif isinstance(part.get("refusal"), str):
            tally.text(part["refusal"])
        elif kind == "image_url":
            told = part.get("image_url")
            image = told if isinstance(told, dict) else {"url": told}
            tally.image(image.get("url"), image.get("detail"))
        elif kind == "input_image":
            tally.image(part.get("image_url"), part.get("detail"))
        else:
            tally.uncounted += 1


def _read_inputs(inputs: object, tally: _Tally) -> None:
    """What embeddings, completions and moderations take: text, tokens, parts, or a list of these."""
    if isinstance(inputs, str):
        tally.text(inputs)
    elif isinstance(inputs, list):
        if inputs and all(isinstance(item, int) for item in inputs):
            tally.exactly(len(inputs))
        elif all(isinstance(item, dict) for item in inputs):
            _read_content(inputs, tally)
        else:
            for item in inputs:
                _read_inputs(item, tally)


def _dicts(values: object) -> Iterator[dict[str, Any]]:
    if isinstance(values, list):
        yield from (value for value in values if isinstance(value, dict))


def _inner(value: object, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _chat_schema(body: Mapping[str, Any]) -> Any:
    return _inner(body.get("response_format"), "json_schema", "schema")


def _response_schema(body: Mapping[str, Any]) -> Any:
    return _inner(body.get("text"), "format", "schema")


def _output(body: Mapping[str, Any], path: str, tally: _Tally) -> tuple[Guess, int | None, str]:
    """The likely output with its band, the ceiling, and what the likely figure rests on."""
    if path in _SILENT:
        return Guess(0, 0, 0), 0, "no output"
    if path not in {"/v1/chat/completions", "/v1/responses", "/v1/completions"}:
        tally.uncounted += 1  # pictures and films are not paid by tokens that a body foretells
        return Guess(0, 0, 0), None, "not counted"
    answers = _positive(body.get("n")) or 1
    ceiling = _ceiling(body, path)
    likely, basis = _likely(body, tally)
    low, high = likely // _GUESS_SPREAD, likely * _GUESS_SPREAD
    if ceiling is not None:
        low, likely, high = min(low, -(-ceiling // _GUESS_SPREAD)), min(likely, ceiling), min(high, ceiling)
        ceiling *= answers
    return Guess(low * answers, likely * answers, high * answers), ceiling, basis


def _ceiling(body: Mapping[str, Any], path: str) -> int | None:
    for field in ("max_completion_tokens", "max_output_tokens", "max_tokens"):
        if (said := _positive(body.get(field))) is not None:
            return said
    return _COMPLETION_TOKENS_MAX if path == "/v1/completions" else None


def _likely(body: Mapping[str, Any], tally: _Tally) -> tuple[int, str]:
    thinking = _THINKING if _thinks(body, tally.name) else 0
    told = " that the model thinks about" if thinking else ""
    schema = _chat_schema(body) or _response_schema(body)
    if isinstance(schema, dict):
        return _of_schema(schema, 0) + thinking, f"a guess by the schema{told}"
    return _OPEN_ANSWER + thinking, f"a guess for an open answer{told}"


def _thinks(body: Mapping[str, Any], model: str) -> bool:
    effort = body.get("reasoning_effort") or _inner(body.get("reasoning"), "effort")
    if effort is not None:
        return effort not in {"none", "minimal"}
    # gpt-5.1 and later think only when asked to.
    return re.match(r"o\d|gpt-5(?!\.|-chat)", model) is not None


def _of_schema(schema: object, depth: int) -> int:
    """Tokens of a typical value of a JSON schema."""
    if not isinstance(schema, dict) or depth > _SCHEMA_DEPTH_MAX:
        return _STRING_IN_SCHEMA
    if "enum" in schema or "const" in schema:
        return _ENUM_IN_SCHEMA
    fields = schema.get("properties")
    if isinstance(fields, dict):
        return 2 + sum(_KEY_IN_SCHEMA + _of_schema(field, depth + 1) for field in fields.values())
    if "items" in schema:
        return 2 + _ITEMS_IN_SCHEMA * _of_schema(schema["items"], depth + 1)
    kind = schema.get("type")
    kinds = kind if isinstance(kind, list) else [kind]  # ["integer", "null"] for what may be left out
    return _NUMBER_IN_SCHEMA if all(one in _SHORT_KINDS for one in kinds) else _STRING_IN_SCHEMA


def _positive(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None

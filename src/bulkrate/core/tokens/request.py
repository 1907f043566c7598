"""How many tokens a request takes.

Walks a request body as its endpoint reads it and adds up what counts: texts, OpenAI's overhead per message,
tools and schemas as text, images by their rule. What texts weigh is asked of a counter, which guesses or
knows. Reads nothing but the body.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from bulkrate.core.tokens.answer import answer_tokens, chat_schema, response_schema
from bulkrate.core.tokens.guess import Guess
from bulkrate.core.tokens.images import image_tokens
from bulkrate.core.tokens.vocabulary import Vocabulary, bare, vocabulary_of
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
    answer = answer_tokens(body, path, tally.name)
    tier = body.get("service_tier")
    return Tokens(
        input=Guess(tally.low, tally.likely, tally.high),
        output=answer.output,
        output_max=answer.ceiling,
        output_basis=answer.basis,
        uncounted=tally.uncounted + answer.uncounted,
        tier=tier if isinstance(tier, str) and tier in _TIERS else None,
    )


class _Tally:
    """What has been counted so far."""

    def __init__(self, model: str, count: TextCounter) -> None:
        self.name = bare(model)
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
    tally.text(chat_schema(body), _REWRITTEN_DOUBT)


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
    tally.text(response_schema(body), _REWRITTEN_DOUBT)


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

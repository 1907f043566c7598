"""How many tokens an answer may have: the ceiling that its request sets, and a likely figure.

The likely figure is a guess by the schema, or for an open answer, and says so. Reads nothing but the body.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from bulkrate.core.tokens.guess import Guess

# What /v1/completions writes when nothing is said.
_COMPLETION_TOKENS_MAX = 16

# Likely lengths of answers. They are guesses, and are told as such.
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

_SILENT = {"/v1/embeddings", "/v1/moderations"}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of an answer, or of all of them where several are asked for.

    `ceiling` is None where the body sets none. `basis` says what the likely figure rests on. `uncounted` are
    parts that are not paid by tokens.
    """

    output: Guess
    ceiling: int | None
    basis: str
    uncounted: int = 0


def answer_tokens(body: Mapping[str, Any], path: str, model: str) -> Answer:
    """The tokens of the answer to a request; `model` without provider or tag (see `vocabulary.bare`)."""
    if path in _SILENT:
        return Answer(output=Guess(0, 0, 0), ceiling=0, basis="no output")
    if path not in {"/v1/chat/completions", "/v1/responses", "/v1/completions"}:
        # Pictures and films are not paid by tokens that a body foretells.
        return Answer(output=Guess(0, 0, 0), ceiling=None, basis="not counted", uncounted=1)
    answers = _positive(body.get("n")) or 1
    ceiling = _ceiling(body, path)
    likely, basis = _likely(body, model)
    low, high = likely // _GUESS_SPREAD, likely * _GUESS_SPREAD
    if ceiling is not None:
        low, likely, high = min(low, -(-ceiling // _GUESS_SPREAD)), min(likely, ceiling), min(high, ceiling)
        ceiling *= answers
    return Answer(output=Guess(low * answers, likely * answers, high * answers), ceiling=ceiling, basis=basis)


def _ceiling(body: Mapping[str, Any], path: str) -> int | None:
    for field in ("max_completion_tokens", "max_output_tokens", "max_tokens"):
        if (said := _positive(body.get(field))) is not None:
            return said
    return _COMPLETION_TOKENS_MAX if path == "/v1/completions" else None


def _likely(body: Mapping[str, Any], model: str) -> tuple[int, str]:
    thinking = _THINKING if _thinks(body, model) else 0
    told = " that the model thinks about" if thinking else ""
    schema = chat_schema(body) or response_schema(body)
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


def chat_schema(body: Mapping[str, Any]) -> Any:
    """The schema that an answer of the chat endpoint is held to, if any."""
    return _inner(body.get("response_format"), "json_schema", "schema")


def response_schema(body: Mapping[str, Any]) -> Any:
    """The same of the responses endpoint."""
    return _inner(body.get("text"), "format", "schema")


def _inner(value: object, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _positive(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None

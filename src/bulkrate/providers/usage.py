"""Reading token usage out of an answer, per endpoint.

Servers disagree on what is null, missing or a float; an odd `usage` never fails a line, it counts as nothing.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens, in the batch object's own terms."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    total_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.cached_tokens + other.cached_tokens,
            self.output_tokens + other.output_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.total_tokens + other.total_tokens,
        )


NO_USAGE = Usage()

# A number beyond this is nonsense, and ten million of them would not fit into a column.
_Tokens = Annotated[int, msgspec.Meta(ge=0, le=10**11)]


class _Details(msgspec.Struct, gc=False):
    cached_tokens: _Tokens | None = None
    reasoning_tokens: _Tokens | None = None


class _Usage(msgspec.Struct, gc=False):
    # Chat, completions and embeddings say prompt/completion; responses and images say input/output.
    prompt_tokens: _Tokens | None = None
    completion_tokens: _Tokens | None = None
    input_tokens: _Tokens | None = None
    output_tokens: _Tokens | None = None
    total_tokens: _Tokens | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None


class _Answer(msgspec.Struct, gc=False):
    usage: _Usage | None = None


_answer = msgspec.json.Decoder(_Answer)
_anything = msgspec.json.Decoder(Any)


def read_usage(body: bytes) -> Usage:
    """The usage that an answer reports, zeros if it reports none.

    Raises `ValueError` when `body` is not whole, well-formed JSON in UTF-8.
    """
    if not body.isascii():
        body.decode("utf-8")  # msgspec skips over strings that it need not build; a broken one must not pass
    try:
        usage = _answer_in(body).usage
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return NO_USAGE if usage is None else _normal(usage)


def _answer_in(body: bytes) -> _Answer:
    try:
        return _answer.decode(body)
    except msgspec.ValidationError:
        _anything.decode(body)  # of another shape, yet JSON
        return _Answer()


def _normal(usage: _Usage) -> Usage:
    took = usage.input_tokens or usage.prompt_tokens or 0
    gave = usage.output_tokens or usage.completion_tokens or 0
    took_details = usage.input_tokens_details or usage.prompt_tokens_details
    gave_details = usage.output_tokens_details or usage.completion_tokens_details
    return Usage(
        took,
        (took_details.cached_tokens or 0) if took_details else 0,
        gave,
        (gave_details.reasoning_tokens or 0) if gave_details else 0,
        usage.total_tokens or took + gave,
    )

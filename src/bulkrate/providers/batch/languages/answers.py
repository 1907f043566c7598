"""Writing answers as OpenAI would: chat completions, embeddings, error bodies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

_encode = msgspec.json.encode


def completion(
    *, ident: str, created: int, model: str, choices: Sequence[dict[str, Any]], usage: dict[str, Any]
) -> bytes:
    """A chat completion."""
    return _encode(
        {
            "id": ident,
            "object": "chat.completion",
            "created": created,
            "model": model,
            "choices": choices,
            "usage": usage,
        }
    )


def choice(
    index: int,
    *,
    finish_reason: str,
    text: str | None,
    calls: Sequence[dict[str, Any]] = (),
    refusal: str | None = None,
    reasoning: str = "",
    logprobs: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """One choice of a completion. `reasoning` is written as vLLM and others do: `reasoning_content`."""
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": refusal}
    if calls:
        message["tool_calls"] = calls
    if reasoning:
        message["reasoning_content"] = reasoning
    return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": finish_reason}


def call(ident: str, name: str, arguments: Any) -> dict[str, Any]:
    """A call of a function, its arguments as JSON text."""
    written = arguments if isinstance(arguments, str) else _encode(arguments).decode()
    return {"id": ident, "type": "function", "function": {"name": name, "arguments": written}}


def usage(
    *, prompt: int, completion: int, cached: int = 0, reasoning: int = 0, cache_written: int = 0
) -> dict[str, Any]:
    """Tokens in OpenAI's terms: `prompt` includes what was read from or written to a cache, `completion`
    includes reasoning. `cache_written` is an addition, for vendors that charge for it.
    """
    details = {"cached_tokens": cached}
    if cache_written:
        details["cache_creation_tokens"] = cache_written
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": details,
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def embeddings(*, model: str, vectors: Sequence[Sequence[float]], prompt: int) -> bytes:
    """An answer to an embeddings request."""
    return _encode(
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": vector}
                for index, vector in enumerate(vectors)
            ],
            "model": model,
            "usage": {"prompt_tokens": prompt, "total_tokens": prompt},
        }
    )


def error_body(message: str, kind: str, code: str | None = None, param: str | None = None) -> bytes:
    """An error."""
    return _encode({"error": {"message": message, "type": kind, "param": param, "code": code}})

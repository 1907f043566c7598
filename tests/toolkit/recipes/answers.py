"""Answers of models, as the endpoints give them."""

from __future__ import annotations

from typing import Any

import msgspec


def chat(content: Any, finish: str = "stop", **message: Any) -> bytes:
    """A chat completion with one choice."""
    choice: dict[str, Any] = {"index": 0, "finish_reason": finish}
    if (logprobs := message.pop("logprobs", None)) is not None:
        choice["logprobs"] = {"content": [{"token": "x", "logprob": one} for one in logprobs]}
    choice["message"] = {"role": "assistant", "content": content, **message}
    return msgspec.json.encode({"object": "chat.completion", "choices": [choice]})


def completion(text: str, finish: str = "stop", **choice: Any) -> bytes:
    """A legacy completion."""
    return msgspec.json.encode({"choices": [{"index": 0, "text": text, "finish_reason": finish, **choice}]})


def response(*parts: dict[str, Any], **fields: Any) -> bytes:
    """An answer of the Responses API, thinking first."""
    output = [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "thinking"}]},
        {"type": "message", "role": "assistant", "content": list(parts)},
    ]
    return msgspec.json.encode({"object": "response", "status": "completed", "output": output, **fields})

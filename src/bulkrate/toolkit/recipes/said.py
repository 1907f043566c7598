"""What a model said, found in the answers of the three endpoints that write.

Chat completions, completions and responses are told apart by their shape, so that a gateway may answer in
another than was asked. What is not a whole answer (cut off, withheld, a call of a tool) is `Invalid` and says
why. Thinking is no part of what was said. Nothing here raises, whatever the bytes are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from bulkrate.toolkit import json_text
from bulkrate.toolkit.recipes.base import Invalid

CUT_OFF = "it was cut off at the limit of tokens; answer more briefly, or allow more tokens"
WITHHELD = "a content filter withheld it"
REFUSED = "the model refused to answer"
CALLED_A_TOOL = "it calls a tool instead of answering; answer in words"
EMPTY = "it is empty"
ONLY_THOUGHT = "it holds only thinking; give the answer after it"
NOT_AN_ANSWER = "the body is no answer of a model"

_CUT_OFF_BY = frozenset({"length", "max_tokens", "max_output_tokens", "model_length"})
# A block at the start; some chat templates put its opening into the prompt, so that only its end is answered.
_THOUGHT = re.compile(r"\A\s*(?:<(think|thinking|reasoning)>|\[THINK\])", re.IGNORECASE)
_END_OF_THOUGHT = re.compile(r"</(?:think|thinking|reasoning)>|\[/THINK\]", re.IGNORECASE)
_OPENING = re.compile(r"<(?:think|thinking|reasoning)>|\[THINK\]", re.IGNORECASE)
_TEXT_KEPT = 2_000
_LEAST = -1_000.0  # below this a probability is 0, and some numbers are no floats


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """The text, without thinking and outer white space; `probability` is the mean of its tokens', if told."""

    text: str
    probability: float | None = None


def said(body: bytes) -> Said | Invalid:
    """What the answer `body` (a whole response) says."""
    try:
        answer = json_text.decode(body)
    except ValueError:
        return Invalid(fault=NOT_AN_ANSWER, text=body[:_TEXT_KEPT].decode(errors="replace"))
    match answer:
        case {"choices": [dict({"message": dict(message)}) as choice, *_]}:
            return _of_message(message, choice)
        case {"choices": [dict({"text": str(text)}) as choice, *_]}:
            return _whole(text, choice.get("finish_reason"), _probability(_legacy_logprobs(choice)))
        case {"output": list(output)}:
            return _of_response(output, answer)
    return Invalid(fault=NOT_AN_ANSWER, text=_shortened(answer))


def _of_message(message: dict[str, Any], choice: dict[str, Any]) -> Said | Invalid:
    text = _text(message.get("content"))
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal:
        return Invalid(fault=REFUSED, text=text or refusal)
    if not text.strip() and (message.get("tool_calls") or message.get("function_call")):
        return Invalid(fault=CALLED_A_TOOL, text="")
    thought = bool(message.get("reasoning_content") or message.get("reasoning"))
    return _whole(text, choice.get("finish_reason"), _probability(_logprobs(choice)), thought)


def _of_response(output: list[Any], answer: dict[str, Any]) -> Said | Invalid:
    parts = [part for item in output for part in _parts(item)]
    text = "".join(part["text"] for part in parts if isinstance(part.get("text"), str))
    refusal = next((part["refusal"] for part in parts if isinstance(part.get("refusal"), str)), None)
    if refusal:
        return Invalid(fault=REFUSED, text=text or refusal)
    if answer.get("status") in ("failed", "cancelled"):
        return Invalid(fault=NOT_AN_ANSWER, text=text)
    if not text.strip() and any(isinstance(item, dict) and _is_call(item) for item in output):
        return Invalid(fault=CALLED_A_TOOL, text="")
    reason = None
    if answer.get("status") == "incomplete":
        details = answer.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, dict) else None
        reason = reason if isinstance(reason, str) else "length"
    tokens = (part.get("logprobs") for part in parts)
    listed = [token for some in tokens if isinstance(some, list) for token in some]
    return _whole(text, reason, _probability(_each_logprob(listed)))


def _parts(item: object) -> Iterator[dict[str, Any]]:
    match item:
        case {"type": "message", "content": list(content)}:
            yield from (part for part in content if isinstance(part, dict))


def _is_call(item: dict[str, Any]) -> bool:
    return str(item.get("type")).endswith("_call")


def _whole(text: str, reason: object, probability: float | None, thought: bool = False) -> Said | Invalid:
    """The text if it is a whole answer; `reason` is why it ended, `thought` whether there was thinking."""
    spoken = _without_thinking(text)
    if reason == "content_filter":
        return Invalid(fault=WITHHELD, text=spoken)
    if isinstance(reason, str) and reason in _CUT_OFF_BY:
        return Invalid(fault=CUT_OFF, text=spoken)
    if not spoken:
        return Invalid(fault=ONLY_THOUGHT if thought or text.strip() else EMPTY, text="")
    return Said(text=spoken, probability=probability)


def _without_thinking(text: str) -> str:
    end = _END_OF_THOUGHT.search(text)
    if _THOUGHT.match(text):
        return text[end.end() :].strip() if end else ""
    if end and not _OPENING.search(text, 0, end.start()):
        return text[end.end() :].strip()
    return text.strip()


def _text(content: object) -> str:
    """The text of a message's content, which is a text or a list of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "".join(
        part["text"]
        for part in content
        if isinstance(part, dict)
        and part.get("type") in ("text", "output_text")
        and isinstance(part.get("text"), str)
    )


def _logprobs(choice: dict[str, Any]) -> Iterable[float]:
    match choice.get("logprobs"):
        case {"content": list(tokens)}:
            return _each_logprob(tokens)
    return ()


def _each_logprob(tokens: list[Any]) -> Iterator[float]:
    for token in tokens:
        match token:
            case {"logprob": float() | int() as logprob}:
                yield logprob


def _legacy_logprobs(choice: dict[str, Any]) -> Iterable[float]:
    match choice.get("logprobs"):
        case {"token_logprobs": list(found)}:
            return (one for one in found if isinstance(one, float | int))
    return _logprobs(choice)


def _probability(logprobs: Iterable[float]) -> float | None:
    """The mean probability of the tokens, 0..1; None if none is told."""
    shares = [math.exp(min(0.0, max(_LEAST, logprob))) for logprob in logprobs]
    return sum(shares) / len(shares) if shares else None


def _shortened(answer: object) -> str:
    return json_text.encode(answer)[:_TEXT_KEPT].decode(errors="ignore")

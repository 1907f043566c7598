"""Answers of the three endpoints that write: chat completions, completions and responses.

They differ in shape and in where their limits stand; the text itself is `writing`'s. Tools are accepted and
never called.
"""

from bulkrate.sandbox.dice import Dice
from bulkrate.sandbox.marks import CREATED, FINGERPRINT, NOTICE
from bulkrate.sandbox.refusals import bad
from bulkrate.sandbox.request import Fields, object_field, positive, text_field
from bulkrate.sandbox.texts import prompt_tokens
from bulkrate.sandbox.writing import Written, write

_MOST_CHOICES = 128
_MOST_PROMPTS = 2048
_MOST_TOKENS = 10_000_000
_CONVERSATION = 3  # tokens that prime a chat reply, after OpenAI's cookbook


def chat_completion(fields: Fields, model: str, dice: Dice) -> Fields:
    limit = _limit(fields, "max_completion_tokens") or _limit(fields, "max_tokens")
    wanted = object_field(fields, "response_format")
    count = positive(fields, "n", 1, _MOST_CHOICES)
    written = [write(fields["messages"], wanted, limit, own) for own in _each(dice, count)]
    return {
        "id": dice.identity("chatcmpl-sandbox-"),
        "object": "chat.completion",
        "created": CREATED,
        "model": model,
        "choices": [_chat_choice(place, one) for place, one in enumerate(written)],
        "usage": _usage(prompt_tokens(fields["messages"]) + _CONVERSATION, written),
        "service_tier": "default",
        "system_fingerprint": FINGERPRINT,
    }


def completion(fields: Fields, model: str, dice: Dice) -> Fields:
    prompts = _prompts(fields["prompt"])
    count = positive(fields, "n", 1, _MOST_CHOICES)
    limit = positive(fields, "max_tokens", 16, _MOST_TOKENS)  # 16 is OpenAI's own default
    written = [
        write(prompt, {}, limit, own)
        for place, prompt in enumerate(prompts)
        for own in _each(dice, count, place)
    ]
    return {
        "id": dice.identity("cmpl-sandbox-"),
        "object": "text_completion",
        "created": CREATED,
        "model": model,
        "choices": [
            {"index": place, "text": one.text, "logprobs": None, "finish_reason": _finish(one)}
            for place, one in enumerate(written)
        ],
        "usage": _usage(prompt_tokens(prompts), written),
        "system_fingerprint": FINGERPRINT,
    }


def response(fields: Fields, model: str, dice: Dice) -> Fields:
    if fields.get("background"):
        raise bad("the sandbox has no background responses; leave 'background' out", "background")
    wanted = object_field(object_field(fields, "text"), "format")
    limit = _limit(fields, "max_output_tokens")
    asked = [fields["instructions"], fields["input"]] if fields.get("instructions") else fields["input"]
    one = write(asked, wanted, limit, dice)
    return {
        "id": dice.identity("resp_sandbox_"),
        "object": "response",
        "created_at": CREATED,
        "completed_at": CREATED,
        "status": "completed" if one.complete else "incomplete",
        "error": None,
        "incomplete_details": None if one.complete else {"reason": "max_output_tokens"},
        "model": model,
        "output": [_message(one, dice)],
        **_echoed(fields),
        "text": {"format": wanted or {"type": "text"}},
        "usage": _response_usage(prompt_tokens(asked), one.tokens),
        "sandbox": NOTICE,
    }


def _limit(fields: Fields, name: str) -> int | None:
    return positive(fields, name, 0, _MOST_TOKENS) or None


def _each(dice: Dice, count: int, place: int = 0) -> list[Dice]:
    """Own dice for every choice; the first choice of the first prompt keeps the request's."""
    if place == 0 and count == 1:
        return [dice]
    return [Dice(dice.bytes_of(f"choice.{place}.{index}", 16)) for index in range(count)]


def _chat_choice(index: int, one: Written) -> Fields:
    return {
        "index": index,
        "message": {"role": "assistant", "content": one.text, "refusal": None, "annotations": []},
        "logprobs": None,
        "finish_reason": _finish(one),
    }


def _finish(one: Written) -> str:
    return "stop" if one.complete else "length"


def _usage(prompt: int, written: list[Written]) -> Fields:
    completed = sum(one.tokens for one in written)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completed,
        "total_tokens": prompt + completed,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _prompts(prompt: object) -> list[object]:
    """One entry per prompt: a string and a list of tokens are one, other lists are many."""
    if not isinstance(prompt, list) or (prompt and isinstance(prompt[0], int)):
        return [prompt]
    if len(prompt) > _MOST_PROMPTS:
        raise bad(f"'prompt' holds {len(prompt)} prompts; send at most {_MOST_PROMPTS}", "prompt")
    return prompt


def _message(one: Written, dice: Dice) -> Fields:
    return {
        "id": dice.identity("msg_sandbox_", "message"),
        "type": "message",
        "role": "assistant",
        "status": "completed" if one.complete else "incomplete",
        "content": [{"type": "output_text", "text": one.text, "annotations": [], "logprobs": []}],
    }


def _echoed(fields: Fields) -> Fields:
    """What a response repeats of its request, with OpenAI's defaults."""
    return {
        "background": False,
        "instructions": fields.get("instructions"),
        "max_output_tokens": fields.get("max_output_tokens"),
        "metadata": object_field(fields, "metadata"),
        "parallel_tool_calls": fields.get("parallel_tool_calls", True),
        "previous_response_id": fields.get("previous_response_id"),
        "reasoning": {"effort": None, "summary": None},
        "store": False,
        "temperature": fields.get("temperature", 1.0),
        "tool_choice": fields.get("tool_choice", "auto"),
        "tools": fields.get("tools", []),
        "top_p": fields.get("top_p", 1.0),
        "truncation": text_field(fields, "truncation", "disabled"),
        "user": fields.get("user"),
    }


def _response_usage(prompt: int, written: int) -> Fields:
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt + written,
    }

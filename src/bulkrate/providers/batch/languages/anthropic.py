"""Chat in the words of Anthropic's Messages API.

System messages from anywhere in a conversation go to its front, as Anthropic's own OpenAI endpoint has it;
turns of one side become one turn; JSON schemas are its structured outputs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from bulkrate.providers.batch.languages import answers
from bulkrate.providers.batch.languages.chat import Fields, Image, Message, Tool

#: From this version of the API on there is no temperature and no top_p (platform.claude.com, api/versioning).
WITHOUT_SAMPLING = "2026-10-21"

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_PICTURES = {"image/jpeg", "image/png", "image/gif", "image/webp"}
_EFFORT = ("low", "medium", "high", "xhigh", "max")


class Block(msgspec.Struct):
    """A piece of an answer."""

    type: str
    text: str = ""
    thinking: str = ""
    id: str = ""
    name: str = ""
    input: Any = None


class StopDetails(msgspec.Struct):
    """Why the model refused."""

    explanation: str | None = None
    category: str | None = None


class OutputDetails(msgspec.Struct):
    """What the output tokens were for."""

    thinking_tokens: int | None = None


class Usage(msgspec.Struct):
    """Tokens; those of the cache are not among the input tokens."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens_details: OutputDetails | None = None


class Answer(msgspec.Struct):
    """A message of the model's, as far as OpenAI has words for it."""

    id: str
    model: str
    content: list[Block]
    stop_reason: str | None = None
    stop_details: StopDetails | None = None
    usage: Usage = msgspec.field(default_factory=Usage)


def request(fields: Fields, *, version: str, max_tokens: int) -> dict[str, Any]:
    """The body of a Messages request. `max_tokens` is for requests that say none.

    Raises `Untranslatable`.
    """
    asked: dict[str, Any] = {"model": fields.model()}
    limit = fields.max_tokens()
    asked["max_tokens"] = max_tokens if limit is None else limit
    messages = fields.messages()
    # Each text stays a block of its own.
    system = [block for one in messages if one.role == "system" for block in _blocks(one, fields)]
    if system:
        asked["system"] = system
    asked["messages"] = _turns(messages, fields)
    _sampling(asked, fields, version)
    _tools(asked, fields)
    _output(asked, fields)
    if stop := fields.texts("stop"):
        asked["stop_sequences"] = stop
    fields.only("n", 1)
    fields.only("seed")
    fields.only("logprobs", False)
    fields.only("top_logprobs", 0)
    fields.only("logit_bias", {})
    fields.only("presence_penalty", 0)
    fields.only("frequency_penalty", 0)
    fields.finish()
    return asked


def completion(message: Answer, *, created: int) -> bytes:
    """The chat completion that an answer is. `created` is in Unix seconds."""
    text = "".join(block.text for block in message.content if block.type == "text")
    calls = [
        answers.call(block.id, block.name, block.input if block.input is not None else {})
        for block in message.content
        if block.type == "tool_use"
    ]
    refusal = None
    if message.stop_reason == "refusal":
        stopped = message.stop_details or StopDetails()
        refusal = stopped.explanation or stopped.category or "the model refused"
    usage = message.usage
    read_from, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    details = usage.output_tokens_details
    return answers.completion(
        ident=message.id,
        created=created,
        model=message.model,
        choices=[
            answers.choice(
                0,
                finish_reason=_FINISH.get(message.stop_reason or "", "stop"),
                text=text if text or not (calls or refusal) else None,
                calls=calls,
                refusal=refusal,
                reasoning="".join(block.thinking for block in message.content),
            )
        ],
        usage=answers.usage(
            prompt=(usage.input_tokens or 0) + read_from + written,
            completion=usage.output_tokens or 0,
            cached=read_from,
            cache_written=written,
            reasoning=(details.thinking_tokens or 0) if details is not None else 0,
        ),
    )


def _sampling(asked: dict[str, Any], fields: Fields, version: str) -> None:
    if version >= WITHOUT_SAMPLING:
        fields.only("temperature")
        fields.only("top_p")
        fields.only("top_k")
        return
    sampling = {
        "temperature": fields.number("temperature", low=0, high=1),
        "top_p": fields.number("top_p", low=0, high=1),
        "top_k": fields.whole("top_k"),
    }
    asked |= {name: value for name, value in sampling.items() if value is not None}


def _tools(asked: dict[str, Any], fields: Fields) -> None:
    tools, choice, parallel = fields.tools(), fields.tool_choice(), fields.flag("parallel_tool_calls")
    if not tools:
        if choice not in (None, "none", "auto"):
            fields.refuse("tool_choice", "has no tools to choose from here")
        return
    asked["tools"] = [_tool(tool) for tool in tools]
    chosen: dict[str, Any] = {"type": "auto"}
    if isinstance(choice, Tool):
        chosen = {"type": "tool", "name": choice.name}
    elif choice is not None:
        chosen = {"type": {"required": "any"}.get(choice, choice)}
    if parallel is False and choice != "none":
        chosen["disable_parallel_tool_use"] = True
    if choice is not None or parallel is False:
        asked["tool_choice"] = chosen


def _output(asked: dict[str, Any], fields: Fields) -> None:
    output: dict[str, Any] = {}
    wanted = fields.response_format()
    if wanted is not None:
        if wanted.schema is None:
            fields.refuse("response_format", "has no free JSON mode; give a json_schema")
        output["format"] = {"type": "json_schema", "schema": wanted.described}
    effort = fields.text("reasoning_effort")
    if effort == "none":
        asked["thinking"] = {"type": "disabled"}
    elif effort is not None:
        if effort not in _EFFORT:
            fields.refuse("reasoning_effort", f"takes none, {', '.join(_EFFORT)}")
        output["effort"] = effort
    if output:
        asked["output_config"] = output


def _turns(messages: Iterable[Message], fields: Fields) -> list[dict[str, Any]]:
    """User and assistant by turns, as the API reads them: results of tools are said by the user, and
    several messages of one side are one turn.
    """
    turns: list[dict[str, Any]] = []
    for message in messages:
        if message.role == "system":
            continue
        role = "assistant" if message.role == "assistant" else "user"
        blocks = _blocks(message, fields)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    if not turns:
        fields.refuse("messages", "wants at least one message that is not the system's")
    return turns


def _blocks(message: Message, fields: Fields) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for part in message.parts:
        if isinstance(part, Image):
            if message.role != "user":
                fields.refuse(part.place, "takes pictures in user messages only")
            blocks.append({"type": "image", "source": _source(part, fields)})
        elif part.text:
            # The API refuses empty text; beside others it says nothing.
            blocks.append({"type": "text", "text": part.text})
    if message.role == "tool":
        result: dict[str, Any] = {"type": "tool_result", "tool_use_id": message.call_id}
        return [result | {"content": blocks} if blocks else result]
    blocks += [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": fields.arguments(call)}
        for call in message.calls
    ]
    if not blocks and message.role != "system":
        fields.refuse(f"{message.place}.content", "takes no empty messages")
    return blocks


def _tool(tool: Tool) -> dict[str, Any]:
    written: dict[str, Any] = {
        "name": tool.name,
        "input_schema": tool.parameters or {"type": "object", "properties": {}},
    }
    if tool.description is not None:
        written["description"] = tool.description
    if tool.strict is not None:
        written["strict"] = tool.strict
    return written


def _source(image: Image, fields: Fields) -> dict[str, str]:
    if image.detail is not None:
        fields.refuse(f"{image.place}.image_url.detail", "looks at all pictures alike; leave the detail out")
    if image.url:
        if not image.url.startswith("https://"):
            fields.refuse(f"{image.place}.image_url.url", "takes pictures as https:// or data: URLs")
        return {"type": "url", "url": image.url}
    if image.media_type not in _PICTURES:
        fields.refuse(f"{image.place}.image_url.url", f"takes pictures of {', '.join(sorted(_PICTURES))}")
    return {"type": "base64", "media_type": image.media_type, "data": image.data}

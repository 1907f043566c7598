"""Chat and embeddings in Mistral's words, which are nearly OpenAI's.

Developer messages are system messages, the seed has another name, ids of calls have nine letters, and
answers may come in pieces.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec

from bulkrate.providers.batch.languages import answers
from bulkrate.providers.batch.languages.chat import Fields, Image, Message, Part, Text, Tool

_CALL_ID = re.compile(r"[A-Za-z0-9]{9}")
_FINISH = {"model_length": "length"}


class Function(msgspec.Struct):
    """A function that is called; `arguments` may be text or an object."""

    name: str
    arguments: Any = ""


class Call(msgspec.Struct):
    """A call that the model makes."""

    function: Function
    id: str = ""


class Said(msgspec.Struct):
    """What the model said: text, or pieces of text and thinking."""

    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[Call] | None = None


class Choice(msgspec.Struct):
    """One answer of several."""

    message: Said
    index: int = 0
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None


class Answer(msgspec.Struct):
    """A chat completion of Mistral's."""

    id: str
    model: str
    choices: list[Choice]
    created: int | None = None
    usage: dict[str, Any] | None = None


def chat(fields: Fields) -> dict[str, Any]:
    """The body of a chat completion. Raises `Untranslatable`."""
    asked: dict[str, Any] = {"model": fields.model()}
    asked["messages"] = [_message(message, fields) for message in fields.messages()]
    tools, choice, wanted = fields.tools(), fields.tool_choice(), fields.response_format()
    given = {
        "temperature": fields.number("temperature", low=0, high=1.5),
        "top_p": fields.number("top_p", low=0, high=1),
        "top_k": fields.whole("top_k"),
        "max_tokens": fields.max_tokens(),
        "stop": fields.texts("stop") or None,
        "random_seed": fields.whole("seed"),
        "n": fields.whole("n"),
        "presence_penalty": fields.number("presence_penalty", low=-2, high=2),
        "frequency_penalty": fields.number("frequency_penalty", low=-2, high=2),
        "logprobs": fields.flag("logprobs"),
        "top_logprobs": fields.whole("top_logprobs"),
        "reasoning_effort": fields.text("reasoning_effort"),
        "prediction": fields.take("prediction"),
        "parallel_tool_calls": fields.flag("parallel_tool_calls"),
        "tools": [_tool(tool) for tool in tools] or None,
    }
    asked |= {name: value for name, value in given.items() if value is not None}
    if isinstance(choice, Tool):
        asked["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
    elif choice is not None:
        asked["tool_choice"] = choice
    if wanted is not None and wanted.schema is None:
        asked["response_format"] = {"type": "json_object"}
    elif wanted is not None:
        schema: dict[str, Any] = {"name": wanted.name or "answer", "schema": wanted.schema}
        if wanted.description is not None:
            schema["description"] = wanted.description
        if wanted.strict is not None:
            schema["strict"] = wanted.strict
        asked["response_format"] = {"type": "json_schema", "json_schema": schema}
    fields.only("logit_bias", {})
    fields.finish()
    return asked


def embedding(fields: Fields) -> dict[str, Any]:
    """The body of an embeddings request: texts, not tokens. Raises `Untranslatable`."""
    asked: dict[str, Any] = {"model": fields.model()}
    texts = fields.texts("input")
    if not texts:
        fields.refuse("input", "wants at least one text here")
    asked["input"] = texts
    size, form = fields.whole("dimensions"), fields.text("encoding_format")
    if size is not None:
        asked["output_dimension"] = size
    if form is not None:
        asked["encoding_format"] = form
    fields.finish()
    return asked


def completion(answer: Answer, *, created: int) -> bytes:
    """The chat completion that an answer is. `created` (Unix seconds) is for answers that do not say."""
    return answers.completion(
        ident=answer.id,
        created=answer.created or created,
        model=answer.model,
        choices=[_choice(choice) for choice in answer.choices],
        usage=answer.usage or answers.usage(prompt=0, completion=0),
    )


def broken(answer: Answer) -> bool:
    """Whether something went wrong, by its own word: it is no answer, and another attempt may do better."""
    return any(choice.finish_reason == "error" for choice in answer.choices)


def _choice(choice: Choice) -> dict[str, Any]:
    text, thinking = _said(choice.message.content)
    calls = [
        answers.call(call.id, call.function.name, call.function.arguments)
        for call in choice.message.tool_calls or []
    ]
    finish = choice.finish_reason or "stop"
    return answers.choice(
        choice.index,
        finish_reason=_FINISH.get(finish, finish),
        text=text if text or not calls else None,
        calls=calls,
        reasoning=thinking,
        logprobs=choice.logprobs,
    )


def _said(content: str | list[dict[str, Any]] | None) -> tuple[str, str]:
    """The text and the thinking of an answer that comes as one text or in pieces."""
    if content is None or isinstance(content, str):
        return content or "", ""
    text = "".join(str(piece.get("text") or "") for piece in content if piece.get("type") == "text")
    thoughts = [piece.get("thinking") for piece in content if piece.get("type") == "thinking"]
    thinking = "".join(
        thought if isinstance(thought, str) else _said(thought)[0] for thought in thoughts if thought
    )
    return text, thinking


def _message(message: Message, fields: Fields) -> dict[str, Any]:
    written: dict[str, Any] = {"role": message.role}
    if message.role == "tool":
        return written | {"content": message_text(message, fields), "tool_call_id": _call_id(message.call_id)}
    if message.calls:
        written["tool_calls"] = [
            {
                "id": _call_id(call.id),
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.calls
        ]
    match message.parts:
        case ():
            if not message.calls:
                fields.refuse(f"{message.place}.content", "takes no empty messages")
        case (Text(text=text),):
            written["content"] = text
        case parts:
            written["content"] = [_part(part, message, fields) for part in parts]
    return written


def message_text(message: Message, fields: Fields) -> str:
    """The text of a message that can hold nothing else."""
    for part in message.parts:
        if isinstance(part, Image):
            fields.refuse(part.place, "takes pictures in user messages only")
    return message.text


def _part(part: Part, message: Message, fields: Fields) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if message.role != "user":
        fields.refuse(part.place, "takes pictures in user messages only")
    picture = {"url": part.url or f"data:{part.media_type};base64,{part.data}"}
    if part.detail is not None:
        picture["detail"] = part.detail
    return {"type": "image_url", "image_url": picture}


def _call_id(ident: str) -> str:
    """Mistral's ids of calls have nine letters or digits; another is made into one, the same each time."""
    if _CALL_ID.fullmatch(ident):
        return ident
    return hashlib.sha256(ident.encode()).hexdigest()[:9]


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {
        "name": tool.name,
        "parameters": tool.parameters or {"type": "object", "properties": {}},
    }
    if tool.description is not None:
        function["description"] = tool.description
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}

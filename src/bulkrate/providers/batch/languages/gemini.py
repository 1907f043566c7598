"""Chat and embeddings in the words of the Gemini API's `generateContent` and `embedContent`.

System messages from anywhere in a conversation become the system instruction; results of tools are said by
the user, under the name of the function that was called. Field names are Google's own camel case.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from itertools import groupby
from typing import Any

import msgspec

from bulkrate.providers.batch.languages import answers
from bulkrate.providers.batch.languages.chat import Fields, Image, Message, Text, Tool

# What Google's own OpenAI endpoint makes of an effort, for models that know budgets (2.5) and for those that
# know levels (3 and later): ai.google.dev/gemini-api/docs/openai.
_BUDGETS = {"none": 0, "minimal": 1_024, "low": 1_024, "medium": 8_192, "high": 24_576}
_LEVELS = {"minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "XHIGH"}
# A call that Gemini 3 did not make itself has no signature; this one says so, and the call is not refused for
# it: ai.google.dev/gemini-api/docs/thought-signatures.
_NO_SIGNATURE = "skip_thought_signature_validator"

_PICTURE_ENDS = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".heic": "image/heic",
    ".heif": "image/heif",
}
_RESOLUTIONS = {"low": "MEDIA_RESOLUTION_LOW", "high": "MEDIA_RESOLUTION_HIGH"}
_FINISH = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "MODEL_ARMOR": "content_filter",
}
#: Ends of an answer that is broken through no fault of the request's; another attempt may do better.
BROKEN = {
    "MALFORMED_FUNCTION_CALL",
    "MALFORMED_RESPONSE",
    "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
    "MISSING_THOUGHT_SIGNATURE",
}


class FunctionCall(msgspec.Struct, rename="camel"):
    """A call that the model makes."""

    name: str = ""
    args: Any = None
    id: str = ""


class Part(msgspec.Struct, rename="camel"):
    """A piece of an answer."""

    text: str | None = None
    thought: bool | None = None
    function_call: FunctionCall | None = None
    thought_signature: str | None = None


class Content(msgspec.Struct, rename="camel"):
    """What the model said."""

    parts: list[Part] | None = None


class Chosen(msgspec.Struct, rename="camel"):
    """A token and how likely it was."""

    token: str = ""
    log_probability: float = 0.0


class TopChosen(msgspec.Struct, rename="camel"):
    """The tokens that were likeliest at one place."""

    candidates: list[Chosen] | None = None


class Logprobs(msgspec.Struct, rename="camel"):
    """How likely the answer was, token by token."""

    chosen_candidates: list[Chosen] | None = None
    top_candidates: list[TopChosen] | None = None


class Candidate(msgspec.Struct, rename="camel"):
    """One answer of several."""

    index: int | None = None
    content: Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    logprobs_result: Logprobs | None = None


class Feedback(msgspec.Struct, rename="camel"):
    """Why the prompt itself was blocked."""

    block_reason: str | None = None
    block_reason_message: str | None = None


class Usage(msgspec.Struct, rename="camel"):
    """Tokens; those of the cache are among the prompt's, thoughts are not among the candidates'."""

    prompt_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    cached_content_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None


class Vector(msgspec.Struct):
    """An embedding."""

    values: list[float] | None = None


class Answer(msgspec.Struct, rename="camel"):
    """An answer of `generateContent` or `embedContent`, as far as OpenAI has words for it."""

    response_id: str | None = None
    model_version: str | None = None
    candidates: list[Candidate] | None = None
    prompt_feedback: Feedback | None = None
    usage_metadata: Usage | None = None
    embedding: Vector | None = None


def chat(fields: Fields) -> dict[str, Any]:
    """The body of a `generateContent` request; the model is the batch's. Raises `Untranslatable`."""
    model = fields.model().removeprefix("models/")
    asked: dict[str, Any] = {}
    messages = fields.messages()
    system = [{"text": part.text} for part in _system_texts(messages, fields)]
    if system:
        asked["systemInstruction"] = {"parts": system}
    asked["contents"] = _contents(messages, model, fields)
    _tools(asked, fields)
    config: dict[str, Any] = {
        "temperature": fields.number("temperature", low=0, high=2),
        "topP": fields.number("top_p", low=0, high=1),
        "topK": fields.whole("top_k"),
        "maxOutputTokens": fields.max_tokens(),
        "stopSequences": fields.texts("stop") or None,
        "seed": fields.whole("seed"),
        "candidateCount": fields.whole("n"),
        "presencePenalty": fields.number("presence_penalty"),
        "frequencyPenalty": fields.number("frequency_penalty"),
        "responseLogprobs": fields.flag("logprobs"),
        "logprobs": fields.whole("top_logprobs"),
        "thinkingConfig": _thinking(model, fields),
        "mediaResolution": _resolution(messages, fields),
    }
    wanted = fields.response_format()
    if wanted is not None:
        config["responseMimeType"] = "application/json"
        config["responseJsonSchema"] = wanted.described
    config = {name: value for name, value in config.items() if value is not None}
    if config:
        asked["generationConfig"] = config
    fields.only("logit_bias", {})
    fields.finish()
    return asked


def embedding(fields: Fields) -> dict[str, Any]:
    """The body of an `embedContent` request: one input each. Raises `Untranslatable`."""
    fields.model()
    given = fields.take("input")
    if isinstance(given, list) and len(given) == 1:
        given = given[0]
    if not isinstance(given, str):
        fields.refuse("input", "embeds one text a line in a batch; give each text a line of its own")
    asked: dict[str, Any] = {"content": {"parts": [{"text": given}]}}
    size = fields.whole("dimensions")
    if size is not None:
        asked["outputDimensionality"] = size
    fields.only("encoding_format", "float")
    fields.finish()
    return asked


def completion(answer: Answer, *, ident: str, model: str, created: int) -> bytes:
    """The chat completion that an answer is. `created` is in Unix seconds."""
    candidates = answer.candidates or []
    # Ids of calls must not come again in a later turn of the same conversation.
    mark = hashlib.sha256((answer.response_id or ident).encode()).hexdigest()[:12]
    choices = [_choice(place, candidate, mark) for place, candidate in enumerate(candidates)]
    if not choices:
        told = answer.prompt_feedback or Feedback()
        why = told.block_reason_message or told.block_reason or "the prompt was blocked"
        choices = [answers.choice(0, finish_reason="content_filter", text=None, refusal=why)]
    usage = answer.usage_metadata or Usage()
    thoughts = usage.thoughts_token_count or 0
    return answers.completion(
        ident=answer.response_id or ident,
        created=created,
        model=answer.model_version or model,
        choices=choices,
        usage=answers.usage(
            prompt=(usage.prompt_token_count or 0) + (usage.tool_use_prompt_token_count or 0),
            completion=(usage.candidates_token_count or 0) + thoughts,
            cached=usage.cached_content_token_count or 0,
            reasoning=thoughts,
        ),
    )


def broken(answer: Answer) -> Candidate | None:
    """The first candidate that is no answer at all, if there is one."""
    return next((one for one in answer.candidates or () if _is_broken(one)), None)


def _is_broken(candidate: Candidate) -> bool:
    if candidate.finish_reason in BROKEN:
        return True
    # `OTHER`, and what may come to be: with something said it is an end like any, without it is none.
    said = candidate.content is not None and candidate.content.parts
    return not said and candidate.finish_reason is not None and candidate.finish_reason not in _FINISH


def _choice(place: int, candidate: Candidate, mark: str) -> dict[str, Any]:
    index = place if candidate.index is None else candidate.index
    parts = (candidate.content.parts or []) if candidate.content is not None else []
    text = "".join(part.text or "" for part in parts if not part.thought)
    calls = [
        _call(part.function_call, f"call_{mark}_{index}_{number}", part.thought_signature)
        for number, part in enumerate(parts)
        if part.function_call is not None
    ]
    finish = _FINISH.get(candidate.finish_reason or "", "stop")
    refusal = None
    if finish == "content_filter":
        refusal = candidate.finish_message or candidate.finish_reason
    return answers.choice(
        index,
        finish_reason="tool_calls" if calls and finish == "stop" else finish,
        text=text if text or not (calls or refusal) else None,
        calls=calls,
        refusal=refusal,
        reasoning="".join(part.text or "" for part in parts if part.thought),
        logprobs=_logprobs(candidate.logprobs_result),
    )


def _call(made: FunctionCall, ident: str, signature: str | None) -> dict[str, Any]:
    call = answers.call(made.id or ident, made.name, made.args if made.args is not None else {})
    if signature:
        # As Google's own OpenAI endpoint has it; `_contents` takes it back.
        call["extra_content"] = {"google": {"thought_signature": signature}}
    return call


def _logprobs(result: Logprobs | None) -> dict[str, Any] | None:
    if result is None or result.chosen_candidates is None:
        return None
    tops = result.top_candidates or []
    return {
        "content": [
            _logprob(chosen)
            | {
                "top_logprobs": [_logprob(one) for one in (tops[place].candidates or [])]
                if place < len(tops)
                else []
            }
            for place, chosen in enumerate(result.chosen_candidates)
        ],
        "refusal": None,
    }


def _logprob(chosen: Chosen) -> dict[str, Any]:
    return {"token": chosen.token, "logprob": chosen.log_probability, "bytes": list(chosen.token.encode())}


def _system_texts(messages: Iterable[Message], fields: Fields) -> list[Text]:
    texts: list[Text] = []
    for message in messages:
        if message.role != "system":
            continue
        for part in message.parts:
            if isinstance(part, Image):
                fields.refuse(part.place, "takes pictures in user messages only")
            if part.text:
                texts.append(part)
    return texts


def _contents(messages: Iterable[Message], model: str, fields: Fields) -> list[dict[str, Any]]:
    contents: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    for message in _in_order_of_calls(message for message in messages if message.role != "system"):
        if message.role == "tool":
            parts = [_tool_result(message, names, fields)]
        else:
            parts = [_part(part, message, fields) for part in message.parts if part != Text("")]
        for number, call in enumerate(message.calls):
            names[call.id] = call.name
            made: dict[str, Any] = {"functionCall": {"name": call.name, "args": fields.arguments(call)}}
            signature = _signature(call.extra)
            if signature is None and number == 0 and not _knows_budgets(model):
                signature = _NO_SIGNATURE
            parts.append(made if signature is None else made | {"thoughtSignature": signature})
        if not parts:
            fields.refuse(f"{message.place}.content", "takes no empty messages")
        role = "model" if message.role == "assistant" else "user"
        if contents and contents[-1]["role"] == role:
            contents[-1]["parts"] += parts
        else:
            contents.append({"role": role, "parts": parts})
    if not contents:
        fields.refuse("messages", "wants at least one message that is not the system's")
    return contents


def _in_order_of_calls(messages: Iterable[Message]) -> Iterable[Message]:
    """Results of tools in the order of their calls: which is whose is told by the place, not by an id."""
    places: dict[str, int] = {}
    for role, run in groupby(messages, key=lambda message: message.role):
        said = list(run)
        if role == "tool":
            said.sort(key=lambda message: places.get(message.call_id, 0))
        elif said[-1].calls:
            places = {call.id: place for place, call in enumerate(said[-1].calls)}
        yield from said


def _resolution(messages: Iterable[Message], fields: Fields) -> str | None:
    """How closely to look at the pictures: there is one word for all of them."""
    pictures = [part for message in messages for part in message.parts if isinstance(part, Image)]
    told = next((picture for picture in pictures if picture.detail is not None), None)
    if told is None:
        return None
    place = f"{told.place}.image_url.detail"
    if any(picture.detail != told.detail for picture in pictures):
        fields.refuse(place, "looks at all pictures of a line alike; give each the same detail")
    if told.detail not in _RESOLUTIONS:
        fields.refuse(place, f"takes {', '.join(_RESOLUTIONS)} or auto here")
    return _RESOLUTIONS[told.detail]


def _part(part: Text | Image, message: Message, fields: Fields) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"text": part.text}
    if message.role != "user":
        fields.refuse(part.place, "takes pictures in user messages only")
    if part.data:
        return {"inlineData": {"mimeType": part.media_type, "data": part.data}}
    path = part.url.partition("?")[0].lower()
    kind = next((kind for end, kind in _PICTURE_ENDS.items() if path.endswith(end)), None)
    if kind is None:
        fields.refuse(
            f"{part.place}.image_url.url",
            f"must be told what kind of picture it is: take a URL that ends in {', '.join(_PICTURE_ENDS)}, "
            "or a data: URL",
        )
    return {"fileData": {"mimeType": kind, "fileUri": part.url}}


def _tool_result(message: Message, names: dict[str, str], fields: Fields) -> dict[str, Any]:
    name = names.get(message.call_id)
    if name is None:
        fields.refuse(f"{message.place}.tool_call_id", "wants the call that this is the result of before it")
    for part in message.parts:
        if isinstance(part, Image):
            fields.refuse(part.place, "takes pictures in user messages only")
    return {"functionResponse": {"name": name, "response": {"output": message.text}}}


def _signature(extra: Any) -> str | None:
    google = extra.get("google")
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return signature if isinstance(signature, str) else None


def _knows_budgets(model: str) -> bool:
    return model.startswith(("gemini-1", "gemini-2"))


def _thinking(model: str, fields: Fields) -> dict[str, Any] | None:
    effort = fields.text("reasoning_effort")
    if effort is None:
        return None
    known: dict[str, Any] = _BUDGETS if _knows_budgets(model) else _LEVELS
    if effort not in known:
        fields.refuse("reasoning_effort", f"takes {', '.join(known)} for this model")
    return {"thinkingBudget" if _knows_budgets(model) else "thinkingLevel": known[effort]}


def _tools(asked: dict[str, Any], fields: Fields) -> None:
    tools, choice, parallel = fields.tools(), fields.tool_choice(), fields.flag("parallel_tool_calls")
    if not tools:
        if choice not in (None, "none", "auto"):
            fields.refuse("tool_choice", "has no tools to choose from here")
        return
    if parallel is False and choice != "none":
        fields.refuse("parallel_tool_calls", "cannot be kept from calling several functions at once")
    asked["tools"] = [{"functionDeclarations": [_tool(tool) for tool in tools]}]
    if isinstance(choice, Tool):
        calling: dict[str, Any] = {"mode": "ANY", "allowedFunctionNames": [choice.name]}
    elif choice is not None:
        calling = {"mode": {"required": "ANY"}.get(choice, choice.upper())}
    else:
        return
    asked["toolConfig"] = {"functionCallingConfig": calling}


def _tool(tool: Tool) -> dict[str, Any]:
    # `strict` has no counterpart of its own: a declared schema is what Gemini keeps to in any case.
    written: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        written["description"] = tool.description
    if tool.parameters is not None:
        written["parametersJsonSchema"] = tool.parameters
    return written

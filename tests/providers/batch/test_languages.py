"""OpenAI's requests in other languages: nothing is lost, and nothing is dropped without a word."""

from __future__ import annotations

import contextlib
import json
import re
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from anthropic.types import MessageParam, message_create_params
from google.genai import types as google
from hypothesis import given
from hypothesis import strategies as st
from mistralai.client.models import ChatCompletionRequest
from openai.types.chat import ChatCompletion
from openai.types.chat.completion_create_params import CompletionCreateParamsBase
from pydantic import TypeAdapter

from bulkrate.providers.batch.anthropic import AnthropicBatch
from bulkrate.providers.batch.base import Fate, Shard, Untranslatable, Vendor
from bulkrate.providers.batch.gemini import GeminiBatch
from bulkrate.providers.batch.languages.chat import HARMLESS
from bulkrate.providers.batch.mistral import MistralBatch

VENDORS: dict[str, Vendor] = {
    "anthropic": AnthropicBatch(),
    "gemini": GeminiBatch(),
    "mistral": MistralBatch(),
}
MODELS = {"anthropic": "claude-haiku-4-5", "gemini": "gemini-2.5-flash", "mistral": "mistral-small-latest"}
CHAT = "/v1/chat/completions"

every_vendor = pytest.mark.parametrize("name", VENDORS)


def translated(name: str, _vendor: Vendor | None = None, **fields: Any) -> dict[str, Any]:
    """The vendor's own request."""
    body = {"model": MODELS[name], "messages": [{"role": "user", "content": "hello"}]} | fields
    vendor = _vendor or VENDORS[name]
    line = msgspec.json.decode(vendor.to_vendor("shard-1", CHAT, msgspec.json.encode(body)))
    return line.get("params") or line.get("request") or line["body"]


def refused(name: str, **fields: Any) -> Untranslatable:
    with pytest.raises(Untranslatable) as caught:
        translated(name, **fields)
    return caught.value


def all_texts(value: Any) -> list[str]:
    """Every text anywhere in a JSON value."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for item in value.values() for text in all_texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in all_texts(item)]
    return []


# Every field of OpenAI's request

#: A value for each that asks for something, and what becomes of it: a name in the vendor's request, or None
#: where it is refused.
FIELDS: dict[str, tuple[Any, dict[str, str | None]]] = {
    "temperature": (0.5, {"anthropic": "temperature", "gemini": "temperature", "mistral": "temperature"}),
    "top_p": (0.5, {"anthropic": "top_p", "gemini": "topP", "mistral": "top_p"}),
    "max_tokens": (77, {"anthropic": "max_tokens", "gemini": "maxOutputTokens", "mistral": "max_tokens"}),
    "max_completion_tokens": (
        77,
        {"anthropic": "max_tokens", "gemini": "maxOutputTokens", "mistral": "max_tokens"},
    ),
    "stop": (["x"], {"anthropic": "stop_sequences", "gemini": "stopSequences", "mistral": "stop"}),
    "seed": (7, {"anthropic": None, "gemini": "seed", "mistral": "random_seed"}),
    "n": (2, {"anthropic": None, "gemini": "candidateCount", "mistral": "n"}),
    "presence_penalty": (
        0.5,
        {"anthropic": None, "gemini": "presencePenalty", "mistral": "presence_penalty"},
    ),
    "frequency_penalty": (
        0.5,
        {"anthropic": None, "gemini": "frequencyPenalty", "mistral": "frequency_penalty"},
    ),
    "logprobs": (True, {"anthropic": None, "gemini": "responseLogprobs", "mistral": "logprobs"}),
    "top_logprobs": (3, {"anthropic": None, "gemini": "logprobs", "mistral": "top_logprobs"}),
    "logit_bias": ({"5": 1}, {"anthropic": None, "gemini": None, "mistral": None}),
    "reasoning_effort": (
        "low",
        {"anthropic": "output_config", "gemini": "thinkingConfig", "mistral": "reasoning_effort"},
    ),
    "response_format": (
        {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
        {"anthropic": "output_config", "gemini": "responseJsonSchema", "mistral": "response_format"},
    ),
    "audio": ({"voice": "a", "format": "mp3"}, {"anthropic": None, "gemini": None, "mistral": None}),
    "modalities": (["text", "audio"], {"anthropic": None, "gemini": None, "mistral": None}),
    "verbosity": ("low", {"anthropic": None, "gemini": None, "mistral": None}),
    "web_search_options": ({}, {"anthropic": None, "gemini": None, "mistral": None}),
    "moderation": ({"model": "m"}, {"anthropic": None, "gemini": None, "mistral": None}),
    "functions": ([{"name": "f"}], {"anthropic": None, "gemini": None, "mistral": None}),
    "function_call": ("auto", {"anthropic": None, "gemini": None, "mistral": None}),
    "stream": (True, {"anthropic": None, "gemini": None, "mistral": None}),
    "made_up": (1, {"anthropic": None, "gemini": None, "mistral": None}),
}
#: Tested by themselves.
OTHERS = {"model", "messages", "tools", "tool_choice", "parallel_tool_calls"}


def test_every_field_of_openais_request_is_accounted_for() -> None:
    asked = set(CompletionCreateParamsBase.__annotations__)
    assert asked <= set(FIELDS) | OTHERS | set(HARMLESS)


@every_vendor
@pytest.mark.parametrize("field", FIELDS)
def test_a_field_is_translated_or_refused_by_its_name(name: str, field: str) -> None:
    value, becomes = FIELDS[field]
    expected = becomes[name]
    if expected is None:
        error = refused(name, **{field: value})
        assert error.param == field
        assert f'drop_fields = ["{field}"]' in error.message
    else:
        request = translated(name, **{field: value})
        found = request | request.get("generationConfig", {})
        assert expected in found


@every_vendor
@pytest.mark.parametrize("field", sorted(HARMLESS))
def test_harmless_fields_change_nothing_but_a_prediction(name: str, field: str) -> None:
    value = {"type": "content", "content": "x"} if field == "prediction" else "x"
    request = translated(name, **{field: value})
    if name == "mistral":
        request.pop("prediction", None)  # which has the same
    assert request == translated(name)


@every_vendor
@pytest.mark.parametrize("field", FIELDS)
def test_null_is_an_absent_field(name: str, field: str) -> None:
    assert translated(name, **{field: None}) == translated(name)


def test_values_that_ask_for_what_happens_anyway_are_no_reason_to_refuse() -> None:
    plain = translated("anthropic")
    fields = {"n": 1, "presence_penalty": 0, "logprobs": False, "logit_bias": {}, "stream": False}
    assert translated("anthropic", **fields, modalities=["text"], verbosity="medium") == plain


def test_anthropics_newest_version_takes_no_temperature() -> None:
    vendor = AnthropicBatch(version="2026-10-21")
    with pytest.raises(Untranslatable, match="temperature"):
        translated("anthropic", vendor, temperature=0)
    assert refused("anthropic", temperature=1.5).param == "temperature"


# Messages

words = st.text(min_size=1, max_size=20)
message = st.one_of(
    st.builds(
        lambda role, text: {"role": role, "content": text},
        st.sampled_from(["system", "developer", "user", "assistant"]),
        words,
    ),
    st.builds(
        lambda texts: {"role": "user", "content": [{"type": "text", "text": text} for text in texts]},
        st.lists(words, min_size=1, max_size=3),
    ),
    st.builds(
        lambda ident, name, value, result: (
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": ident,
                        "type": "function",
                        "function": {"name": name, "arguments": json.dumps({"key": value})},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": ident, "content": result},
        ),
        st.from_regex(r"call_[a-z0-9]{1,20}", fullmatch=True),
        st.from_regex(r"[a-z]{1,10}", fullmatch=True),
        words,
        words,
    ),
)


@every_vendor
@given(given_messages=st.lists(message, max_size=8))
def test_no_message_is_lost(name: str, given_messages: list[Any]) -> None:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "begin"}]
    for one in given_messages:
        messages += one if isinstance(one, tuple) else [one]
    request = translated(name, messages=messages)
    texts = all_texts(request)
    whole = "\n".join(texts)
    for one in messages:
        for part in all_texts(one.get("content")):
            assert part == "text" or part in texts
        for call in one.get("tool_calls", ()):
            assert call["function"]["name"] in texts
            value = json.loads(call["function"]["arguments"])["key"]
            assert value in texts or json.dumps(value) in whole
    # Every user's text is in its order.
    said = [
        text
        for one in messages
        if one["role"] == "user"
        for text in all_texts(one["content"])
        if text != "text"
    ]
    places = iter(texts)
    assert all(text in places for text in said)


@given(messages=st.lists(message, max_size=8))
def test_what_anthropic_is_sent_is_what_its_sdk_would_send(messages: list[Any]) -> None:
    flat = [{"role": "user", "content": "begin"}]
    for one in messages:
        flat += one if isinstance(one, tuple) else [one]
    request = translated("anthropic", messages=flat)
    for turn in request["messages"]:
        TypeAdapter(MessageParam).validate_python(turn)
    roles = [turn["role"] for turn in request["messages"]]
    assert all(first != second for first, second in pairwise(roles))
    known = set(message_create_params.MessageCreateParamsBase.__annotations__)
    assert set(request) <= known


@given(messages=st.lists(message, max_size=8))
def test_what_google_is_sent_is_what_its_sdk_knows(messages: list[Any]) -> None:
    flat = [{"role": "user", "content": "begin"}]
    for one in messages:
        flat += one if isinstance(one, tuple) else [one]
    request = translated("gemini", messages=flat, temperature=0.5, seed=1, stop="x", logprobs=True)
    for content in [
        *request["contents"],
        *([request["systemInstruction"]] if "systemInstruction" in request else []),
    ]:
        google.Content.model_validate(content)
    google.GenerationConfig.model_validate(request["generationConfig"])


@given(messages=st.lists(message, max_size=8))
def test_what_mistral_is_sent_is_what_its_sdk_would_send(messages: list[Any]) -> None:
    flat = [{"role": "user", "content": "begin"}]
    for one in messages:
        flat += one if isinstance(one, tuple) else [one]
    request = translated("mistral", messages=flat, temperature=0.5, seed=1, stop="x", max_completion_tokens=5)
    known = {field.alias or key for key, field in ChatCompletionRequest.model_fields.items()}
    assert set(request) <= known
    ChatCompletionRequest.model_validate(request)
    ids = [call["id"] for one in request["messages"] for call in one.get("tool_calls", ())]
    results = [one["tool_call_id"] for one in request["messages"] if one["role"] == "tool"]
    assert ids == results
    assert all(re.fullmatch("[A-Za-z0-9]{9}", ident) for ident in ids)


@every_vendor
@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        ([{"role": "function", "name": "f", "content": "x"}], "messages[0].role"),
        ([{"role": "user", "content": "x", "name": "Ann"}], "messages[0].name"),
        (
            [{"role": "user", "content": [{"type": "file", "file": {"file_id": "x"}}]}],
            "messages[0].content[0]",
        ),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], "messages[0].content[0]"),
        ([{"role": "assistant", "content": "x", "audio": {"id": "x"}}], "messages[0].audio"),
        ([{"role": "tool", "content": "x"}], "messages[0].tool_call_id"),
    ],
)
def test_messages_that_cannot_be_said_are_named(name: str, messages: list[Any], param: str) -> None:
    assert refused(name, messages=messages).param == param


@every_vendor
@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'"x"', b"[" * 100_000])
def test_a_body_that_is_no_object_is_refused(name: str, body: bytes) -> None:
    with pytest.raises(Untranslatable):
        VENDORS[name].to_vendor("shard-1", CHAT, body)


@every_vendor
@given(
    fields=st.dictionaries(
        st.sampled_from([*FIELDS, *OTHERS]),
        st.recursive(
            st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-3, 3) | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
            ),
            max_leaves=8,
        ),
        max_size=4,
    )
)
def test_any_body_is_translated_or_refused_and_nothing_else(name: str, fields: dict[str, Any]) -> None:
    with contextlib.suppress(Untranslatable):
        assert json.dumps(translated(name, **fields))


# Pictures, tools, formats

PNG = "data:image/png;base64,aGVsbG8="


def shown(url: str, **more: Any) -> list[dict[str, Any]]:
    image = {"type": "image_url", "image_url": {"url": url, **more}}
    return [{"role": "user", "content": [{"type": "text", "text": "what?"}, image]}]


def test_pictures_are_said_in_each_language() -> None:
    blocks = translated("anthropic", messages=shown(PNG, detail="auto"))["messages"][0]["content"]
    source = {"type": "base64", "media_type": "image/png", "data": "aGVsbG8="}
    assert blocks[1] == {"type": "image", "source": source}
    blocks = translated("anthropic", messages=shown("https://example.com/a"))["messages"][0]["content"]
    assert blocks[1]["source"] == {"type": "url", "url": "https://example.com/a"}
    parts = translated("gemini", messages=shown(PNG))["contents"][0]["parts"]
    assert parts[1] == {"inlineData": {"mimeType": "image/png", "data": "aGVsbG8="}}
    parts = translated("gemini", messages=shown("https://example.com/a.JPG?b=c"))["contents"][0]["parts"]
    file = {"mimeType": "image/jpeg", "fileUri": "https://example.com/a.JPG?b=c"}
    assert parts[1] == {"fileData": file}
    parts = translated("mistral", messages=shown(PNG))["messages"][0]["content"]
    assert parts[1] == {"type": "image_url", "image_url": {"url": PNG}}


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("anthropic", "data:image/tiff;base64,aGVsbG8="),
        ("anthropic", "http://example.com/a.png"),
        ("gemini", "https://example.com/a"),
        ("mistral", "ftp://example.com/a.png"),
    ],
)
def test_pictures_that_a_vendor_does_not_take_are_named(name: str, url: str) -> None:
    assert refused(name, messages=shown(url)).param == "messages[0].content[1].image_url.url"


def test_how_closely_to_look_at_a_picture_is_said_where_there_is_a_word_for_it() -> None:
    detail = "messages[0].content[1].image_url.detail"
    assert refused("anthropic", messages=shown(PNG, detail="low")).param == detail
    config = translated("gemini", messages=shown(PNG, detail="low"))["generationConfig"]
    assert config == {"mediaResolution": "MEDIA_RESOLUTION_LOW"}
    assert "generationConfig" not in translated("gemini", messages=shown(PNG, detail="auto"))
    assert refused("gemini", messages=shown(PNG, detail="original")).param == detail
    assert refused("gemini", messages=shown(PNG, detail="high") + shown(PNG)).param == detail
    parts = translated("mistral", messages=shown(PNG, detail="high"))["messages"][0]["content"]
    assert parts[1]["image_url"] == {"url": PNG, "detail": "high"}


TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "of a place",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
        "strict": True,
    },
}


def test_tools_are_said_in_each_language() -> None:
    schema = TOOL["function"]["parameters"]
    request = translated("anthropic", tools=[TOOL], tool_choice="required", parallel_tool_calls=False)
    assert request["tools"] == [
        {"name": "weather", "description": "of a place", "input_schema": schema, "strict": True}
    ]
    assert request["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}
    request = translated("gemini", tools=[TOOL], tool_choice="required")
    declared = {"name": "weather", "description": "of a place", "parametersJsonSchema": schema}
    assert request["tools"] == [{"functionDeclarations": [declared]}]
    assert request["toolConfig"] == {"functionCallingConfig": {"mode": "ANY"}}
    request = translated("mistral", tools=[TOOL], tool_choice="required", parallel_tool_calls=False)
    assert request["tools"] == [TOOL]
    assert (request["tool_choice"], request["parallel_tool_calls"]) == ("required", False)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("anthropic", {"type": "tool", "name": "weather"}),
        ("gemini", {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["weather"]}}),
        ("mistral", {"type": "function", "function": {"name": "weather"}}),
    ],
)
def test_one_function_can_be_asked_for(name: str, expected: Any) -> None:
    choice = {"type": "function", "function": {"name": "weather"}}
    request = translated(name, tools=[TOOL], tool_choice=choice)
    assert request.get("tool_choice", request.get("toolConfig")) == expected


def test_what_gemini_cannot_promise_about_tools_is_refused() -> None:
    assert refused("gemini", tools=[TOOL], parallel_tool_calls=False).param == "parallel_tool_calls"
    unknown = [{"role": "user", "content": "x"}, {"role": "tool", "tool_call_id": "a", "content": "y"}]
    assert refused("gemini", messages=unknown).param == "messages[1].tool_call_id"


@every_vendor
def test_tools_that_are_no_functions_are_refused(name: str) -> None:
    assert refused(name, tools=[{"type": "custom", "custom": {"name": "x"}}]).param == "tools[0]"
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}
    assert refused(name, tools=[TOOL], tool_choice=allowed).param == "tool_choice"


@given(order=st.permutations(range(4)))
def test_results_of_tools_are_told_to_google_in_the_order_of_the_calls(order: list[int]) -> None:
    """It tells by their place which is of which: in another order one city had the weather of the other."""
    calls = [
        {"id": f"call_{n}", "type": "function", "function": {"name": "weather", "arguments": f'{{"n": {n}}}'}}
        for n in range(4)
    ]
    results = [{"role": "tool", "tool_call_id": f"call_{n}", "content": f"result {n}"} for n in order]
    messages = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "tool_calls": calls},
        *results,
        {"role": "assistant", "tool_calls": list(reversed(calls))},
        *results,
        {"role": "user", "content": "y"},
    ]
    contents = translated("gemini", messages=messages)["contents"]
    told = [
        [
            part["functionResponse"]["response"]["output"]
            for part in content["parts"]
            if "functionResponse" in part
        ]
        for content in contents
        if content["role"] == "user"
    ]
    forth = [f"result {n}" for n in range(4)]
    assert told == [[], forth, forth[::-1]]


def test_gemini_3_is_told_that_a_call_was_not_its_own() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [call]}]
    part = translated("gemini", model="gemini-3-pro", messages=messages)["contents"][1]["parts"][0]
    assert part["thoughtSignature"] == "skip_thought_signature_validator"
    signed = call | {"extra_content": {"google": {"thought_signature": "c2ln"}}}
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [signed]}]
    part = translated("gemini", model="gemini-3-pro", messages=messages)["contents"][1]["parts"][0]
    assert part["thoughtSignature"] == "c2ln"


def test_the_description_of_a_schema_goes_along() -> None:
    wanted = {"name": "n", "description": "a sum", "schema": {"type": "object"}}
    given = {"response_format": {"type": "json_schema", "json_schema": wanted}}
    described = {"type": "object", "description": "a sum"}
    assert translated("anthropic", **given)["output_config"]["format"]["schema"] == described
    assert translated("gemini", **given)["generationConfig"]["responseJsonSchema"] == described
    assert translated("mistral", **given)["response_format"]["json_schema"] == wanted
    wanted["schema"] = {"description": "its own"}
    told = translated("gemini", **given)["generationConfig"]["responseJsonSchema"]["description"]
    assert told == "a sum\n\nits own"


def _call(number: int) -> dict[str, Any]:
    function = {"name": "weather", "arguments": json.dumps({"place": f"place {number}"})}
    return {"id": f"call_{number}", "type": "function", "function": function}


#: A request with every kind of part that can be said in all languages.
WHOLE: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "system"},
        {"role": "developer", "content": [{"type": "text", "text": "developer"}]},
        *shown(PNG),
        {"role": "assistant", "content": "hm", "tool_calls": [_call(0), _call(1)]},
        {"role": "tool", "tool_call_id": "call_0", "content": "result"},
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "result"}]},
        {"role": "user", "content": "go on"},
    ],
    "tools": [TOOL],
    "tool_choice": {"type": "function", "function": {"name": "weather"}},
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
    },
}


def objects(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The place of every JSON object in a value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [place for key, item in inside for place in objects(item, (*path, key))]
    return [path, *found] if isinstance(value, dict) else found


@every_vendor
@pytest.mark.parametrize("path", objects(WHOLE), ids=str)
def test_a_field_that_nobody_knows_is_refused_or_said_wherever_it_stands(
    name: str, path: tuple[Any, ...]
) -> None:
    fields = json.loads(json.dumps(WHOLE))
    place = fields
    for key in path:
        place = place[key]
    place["made_up"] = "a mark"
    if {"schema", "parameters"} & set(path):  # which go along as they are
        assert "a mark" in all_texts(translated(name, **fields))
    else:
        assert refused(name, **fields).param.endswith("made_up")


def test_free_json_is_for_those_who_have_it() -> None:
    assert refused("anthropic", response_format={"type": "json_object"}).param == "response_format"
    config = translated("gemini", response_format={"type": "json_object"})["generationConfig"]
    assert config == {"responseMimeType": "application/json"}
    assert translated("mistral", response_format={"type": "json_object"})["response_format"] == {
        "type": "json_object"
    }


# Answers

SHARD = Shard(id="s", fingerprint="0" * 64, endpoint=CHAT, model="m", lines=1, size=1)
EMBEDDINGS = Shard(id="s", fingerprint="0" * 64, endpoint="/v1/embeddings", model="m", lines=1, size=1)


def answered(name: str, line: Any, shard: Shard = SHARD) -> Any:
    result = VENDORS[name].from_vendor(shard, msgspec.json.encode(line), created=1234)
    assert (result.fate, result.custom_id) == (Fate.ANSWERED, "s-0")
    return ChatCompletion.model_validate_json(result.body, strict=True)


def anthropics(**more: Any) -> dict[str, Any]:
    answer = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [{"type": "text", "text": "hi"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 5},
    } | more
    return {"custom_id": "s-0", "result": {"type": "succeeded", "message": answer}}


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("new_and_unknown", "stop"),
    ],
)
def test_anthropics_stop_reasons_are_finish_reasons(reason: str, expected: str) -> None:
    assert answered("anthropic", anthropics(stop_reason=reason)).choices[0].finish_reason == expected


def test_anthropics_usage_counts_its_cache_as_prompt() -> None:
    usage = {
        "input_tokens": 10,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 1_000,
        "output_tokens": 5,
        "output_tokens_details": {"thinking_tokens": 3},
    }
    found = answered("anthropic", anthropics(usage=usage)).usage
    assert (found.prompt_tokens, found.completion_tokens, found.total_tokens) == (1_110, 5, 1_115)
    assert found.prompt_tokens_details.cached_tokens == 100
    assert found.completion_tokens_details.reasoning_tokens == 3


def test_anthropics_tool_use_is_a_tool_call() -> None:
    content = [
        {"type": "thinking", "thinking": "hm", "signature": "x"},
        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"place": "here"}},
    ]
    message = answered("anthropic", anthropics(content=content, stop_reason="tool_use")).choices[0].message
    (call,) = message.tool_calls
    assert (call.id, call.function.name) == ("toolu_1", "weather")
    assert json.loads(call.function.arguments) == {"place": "here"}
    assert message.content is None
    assert message.model_extra["reasoning_content"] == "hm"


def test_anthropics_refusal_is_a_refusal() -> None:
    details = {"type": "refusal", "category": "bio", "explanation": "not that"}
    line = anthropics(content=[], stop_reason="refusal", stop_details=details)
    choice = answered("anthropic", line).choices[0]
    assert (choice.message.refusal, choice.message.content) == ("not that", None)


@pytest.mark.parametrize(
    ("result", "status", "code", "fate"),
    [
        ({"type": "expired"}, None, "batch_expired", Fate.UNRUN),
        ({"type": "canceled"}, None, "batch_cancelled", Fate.UNRUN),
        ({"type": "new"}, None, "invalid_answer", Fate.TRANSIENT),
        ("invalid_request_error", 400, "", Fate.REFUSED),
        ("not_found_error", 404, "", Fate.REFUSED),
        ("rate_limit_error", 429, "", Fate.TRANSIENT),
        ("overloaded_error", 529, "", Fate.TRANSIENT),
        ("new_error", 500, "", Fate.TRANSIENT),
        # As an example of the guide has it: the inside of an error body alone.
        ({"type": "errored", "error": {"type": "invalid_request", "message": "no"}}, 400, "", Fate.REFUSED),
    ],
)
def test_anthropics_other_results(result: Any, status: int | None, code: str, fate: Fate) -> None:
    if isinstance(result, str):
        error = {"type": "error", "error": {"type": result, "message": "no"}}
        result = {"type": "errored", "error": error}
    line = msgspec.json.encode({"custom_id": "s-0", "result": result})
    found = VENDORS["anthropic"].from_vendor(SHARD, line, created=1)
    assert (found.status, found.code, found.fate) == (status, code, fate)
    if status is not None:
        assert msgspec.json.decode(found.body)["error"]["message"] == "no"


def googles(*candidates: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"key": "s-0", "response": {"candidates": list(candidates), "responseId": "r", **more}}


def mistrals(message: dict[str, Any], reason: str = "stop") -> dict[str, Any]:
    body = {
        "id": "c1",
        "object": "chat.completion",
        "model": "m",
        "created": 5,
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
    }
    return {"id": "b", "custom_id": "s-0", "response": {"status_code": 200, "body": body}, "error": None}


def candidate(*parts: dict[str, Any], reason: str = "STOP", **more: Any) -> dict[str, Any]:
    return {"content": {"parts": list(parts), "role": "model"}, "finishReason": reason, **more}


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("NEW_AND_UNKNOWN", "stop"),
    ],
)
def test_googles_finish_reasons_are_openais(reason: str, expected: str) -> None:
    line = googles(candidate({"text": "hi"}, reason=reason))
    assert answered("gemini", line).choices[0].finish_reason == expected


def test_googles_usage_counts_thoughts_as_completion() -> None:
    usage = {
        "promptTokenCount": 10,
        "cachedContentTokenCount": 4,
        "candidatesTokenCount": 5,
        "thoughtsTokenCount": 7,
        "totalTokenCount": 22,
    }
    found = answered("gemini", googles(candidate({"text": "hi"}), usageMetadata=usage)).usage
    assert (found.prompt_tokens, found.completion_tokens, found.total_tokens) == (10, 12, 22)
    assert found.prompt_tokens_details.cached_tokens == 4
    assert found.completion_tokens_details.reasoning_tokens == 7


def test_googles_calls_keep_their_signatures() -> None:
    call = {"functionCall": {"name": "weather", "args": {"place": "here"}}, "thoughtSignature": "c2ln"}
    choice = answered("gemini", googles(candidate({"text": "hm", "thought": True}, call))).choices[0]
    (made,) = choice.message.tool_calls
    assert (choice.finish_reason, made.function.name) == ("tool_calls", "weather")
    assert made.model_extra["extra_content"] == {"google": {"thought_signature": "c2ln"}}
    assert choice.message.model_extra["reasoning_content"] == "hm"


def test_calls_of_two_answers_of_googles_have_different_ids() -> None:
    """They are told from each other by these in a conversation of several turns."""
    call = {"functionCall": {"name": "weather", "args": {}}}
    lines = [googles(candidate(call, call), responseId=f"r{turn}") for turn in range(2)]
    ids = {made.id for line in lines for made in answered("gemini", line).choices[0].message.tool_calls or ()}
    assert len(ids) == 4
    assert all(len(ident) <= 40 for ident in ids)


def test_googles_candidates_are_choices() -> None:
    line = googles(candidate({"text": "a"}, index=0), candidate({"text": "b"}, index=1))
    assert [choice.message.content for choice in answered("gemini", line).choices] == ["a", "b"]


def test_a_prompt_that_google_blocks_is_a_refusal() -> None:
    line = {"key": "s-0", "response": {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {}}}
    choice = answered("gemini", line).choices[0]
    assert (choice.finish_reason, choice.message.refusal) == ("content_filter", "SAFETY")


def test_googles_logprobs_are_openais() -> None:
    one = {"token": "é", "logProbability": -0.5}
    result = {"chosenCandidates": [one], "topCandidates": [{"candidates": [one]}]}
    line = googles(candidate({"text": "é"}, logprobsResult=result))
    (token,) = answered("gemini", line).choices[0].logprobs.content
    assert (token.token, token.logprob, token.bytes) == ("é", -0.5, [195, 169])
    assert token.top_logprobs[0].token == "é"


@pytest.mark.parametrize(
    ("code", "status", "fate"),
    [
        (3, 400, Fate.REFUSED),
        (8, 429, Fate.TRANSIENT),
        (13, 500, Fate.TRANSIENT),
        (1, None, Fate.UNRUN),
        (4, None, Fate.TRANSIENT),
        (503, 503, Fate.TRANSIENT),
        (99, 500, Fate.TRANSIENT),
    ],
)
def test_googles_errors_are_http_statuses(code: int, status: int | None, fate: Fate) -> None:
    line = msgspec.json.encode({"key": "s-0", "error": {"code": code, "message": "no"}})
    found = VENDORS["gemini"].from_vendor(SHARD, line, created=1)
    assert (found.status, found.fate) == (status, fate)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("gemini", googles(candidate(reason="MALFORMED_FUNCTION_CALL"))),
        ("gemini", googles(candidate(reason="OTHER"))),
        ("mistral", mistrals({"content": "hal"}, "error")),
    ],
)
def test_a_broken_answer_may_be_tried_again(name: str, line: dict[str, Any]) -> None:
    found = VENDORS[name].from_vendor(SHARD, msgspec.json.encode(line), created=1)
    assert (found.status, found.fate) == (502, Fate.TRANSIENT)


def test_mistrals_answers_are_openais() -> None:
    said = {"role": "assistant", "content": "hi", "tool_calls": None, "prefix": False}
    found = answered("mistral", mistrals(said, "model_length"))
    assert (found.choices[0].finish_reason, found.choices[0].message.content) == ("length", "hi")
    assert (found.created, found.usage.total_tokens) == (5, 3)
    call = {"id": "abcdefghi", "function": {"name": "f", "arguments": {"a": 1}}}
    choice = answered("mistral", mistrals({"content": "", "tool_calls": [call]}, "tool_calls")).choices[0]
    assert json.loads(choice.message.tool_calls[0].function.arguments) == {"a": 1}
    pieces = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "text", "text": "hi"},
    ]
    message = answered("mistral", mistrals({"content": pieces})).choices[0].message
    assert (message.content, message.model_extra["reasoning_content"]) == ("hi", "hm")


def test_mistrals_errors_are_openais() -> None:
    error = {"object": "error", "message": "no", "type": "invalid_request_error"}
    for line in (
        {"custom_id": "s-0", "response": {"status_code": 422, "body": error}, "error": None},
        {"custom_id": "s-0", "response": {"status_code": 422, "body": {}}, "error": {"message": "no"}},
    ):
        found = VENDORS["mistral"].from_vendor(SHARD, msgspec.json.encode(line), created=1)
        assert (found.status, found.fate) == (422, Fate.REFUSED)
        assert msgspec.json.decode(found.body)["error"]["message"] == "no"
    line = msgspec.json.encode({"custom_id": "s-0", "response": None, "error": "broken"})
    found = VENDORS["mistral"].from_vendor(SHARD, line, created=1)
    assert (found.fate, found.message) == (Fate.TRANSIENT, "broken")


@every_vendor
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=6,
    ),
    field=st.sampled_from(
        ["content", "usage", "stop_reason", "candidates", "choices", "usageMetadata", "id"]
    ),
)
def test_an_odd_answer_costs_its_own_line_and_no_other(name: str, value: Any, field: str) -> None:
    mine = mistrals({"content": "hi"})
    mine["response"]["body"][field] = value
    line = {
        "anthropic": anthropics(**{field: value}),
        "gemini": googles(candidate({"text": "hi"}), **{field: value})
        if field != "candidates"
        else googles(value),
        "mistral": mine,
    }[name]
    found = VENDORS[name].from_vendor(SHARD, msgspec.json.encode(line), created=1)
    assert found.custom_id == "s-0"
    assert found.fate in {Fate.ANSWERED, Fate.TRANSIENT}


@every_vendor
def test_a_line_without_anything_may_be_tried_again(name: str) -> None:
    line = {
        "anthropic": {"custom_id": "s-0", "result": {"type": "succeeded"}},
        "gemini": {"key": "s-0"},
        "mistral": {"custom_id": "s-0"},
    }[name]
    found = VENDORS[name].from_vendor(SHARD, msgspec.json.encode(line), created=1)
    assert (found.code, found.fate) == ("invalid_answer", Fate.TRANSIENT)


# Embeddings


def embedded(name: str, **fields: Any) -> dict[str, Any]:
    body = msgspec.json.encode({"model": MODELS[name]} | fields)
    line = msgspec.json.decode(VENDORS[name].to_vendor("s-0", "/v1/embeddings", body))
    return line.get("request") or line["body"]


def test_embeddings_are_asked_for_in_each_language() -> None:
    expected = {"content": {"parts": [{"text": "a"}]}, "outputDimensionality": 3}
    assert embedded("gemini", input="a", dimensions=3) == expected
    assert embedded("gemini", input=["a"], dimensions=3, encoding_format="float") == expected
    assert embedded("mistral", input=["a", "b"], dimensions=3) == {
        "model": MODELS["mistral"],
        "input": ["a", "b"],
        "output_dimension": 3,
    }


@pytest.mark.parametrize(
    ("name", "fields", "param"),
    [
        ("gemini", {"input": ["a", "b"]}, "input"),
        ("gemini", {"input": [1, 2]}, "input"),
        ("gemini", {"input": "a", "encoding_format": "base64"}, "encoding_format"),
        ("mistral", {"input": [1, 2]}, "input"),
        ("mistral", {"input": []}, "input"),
    ],
)
def test_embeddings_that_cannot_be_said_are_named(name: str, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Untranslatable) as caught:
        embedded(name, **fields)
    assert caught.value.param == param


def test_an_embedding_of_googles_is_openais() -> None:
    line = msgspec.json.encode({"key": "s-0", "response": {"embedding": {"values": [0.5, 1.0]}}})
    found = VENDORS["gemini"].from_vendor(EMBEDDINGS, line, created=1)
    answer = msgspec.json.decode(found.body)
    assert answer["data"] == [{"object": "embedding", "index": 0, "embedding": [0.5, 1.0]}]

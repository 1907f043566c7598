"""Every fault of a line is told with its code and its field, and no bytes of any kind make the check fail."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bulkrate.core.lines import RawLine
from bulkrate.core.models import Catalogue, is_served, served_names
from bulkrate.core.validate import Fault, Fit, LineChecker, take_apart
from bulkrate.providers.endpoints import ENDPOINTS

CHAT = "/v1/chat/completions"
CATALOGUES = [Catalogue(("m", "qwen*"), {"gpt-4o": "m"})]
BODY = {"model": "m", "messages": []}
LINE = {"custom_id": "row-17", "method": "POST", "url": CHAT, "body": BODY}


def checker(endpoint: str = CHAT) -> LineChecker:
    return LineChecker(
        endpoint,
        serves=lambda model: is_served(CATALOGUES, model),
        known_models=lambda: f"served are: {', '.join(served_names(CATALOGUES))}.",
        custom_id_chars_max=20,
        line_bytes_max=100_000,
    )


def check(data: bytes, endpoint: str = CHAT) -> Fit | list[Fault]:
    return checker(endpoint).check(RawLine(7, 0, len(data), data))


def told(data: bytes, endpoint: str = CHAT) -> list[tuple[str, str | None]]:
    """Code and field of every fault."""
    faults = check(data, endpoint)
    assert isinstance(faults, list), faults
    assert all(fault.line == 7 and "ine 7" in fault.message for fault in faults)
    return [(fault.code, fault.param) for fault in faults]


def line(**changes) -> bytes:
    """The good line with other values; `...` leaves a key out."""
    return json.dumps({key: value for key, value in (LINE | changes).items() if value is not ...}).encode()


def with_body(**changes) -> bytes:
    return line(body={key: value for key, value in (BODY | changes).items() if value is not ...})


def test_a_good_line_is_fit():
    assert check(line()) == Fit("row-17", "m", 0)


@pytest.mark.parametrize(
    ("data", "faults"),
    [
        # contract 3.2, row by row
        (b"not json", [("invalid_json_line", None)]),
        (line()[:-1], [("invalid_json_line", None)]),
        (line() + b"x", [("invalid_json_line", None)]),
        (b'{"a": "\xff"}', [("invalid_json_line", None)]),
        (b'{"a": "\x01"}', [("invalid_json_line", None)]),
        (line(custom_id=...), [("missing_required_parameter", "custom_id")]),
        (line(method=...), [("missing_required_parameter", "method")]),
        (line(url=...), [("missing_required_parameter", "url")]),
        (line(body=...), [("missing_required_parameter", "body")]),
        (b"{}", [("missing_required_parameter", key) for key in LINE]),
        (line(url="/v1/embeddings"), [("invalid_url", "url")]),
        (line(url="https://api.openai.com/v1/chat/completions"), [("invalid_url", "url")]),
        (line(url=7), [("invalid_url", "url")]),
        (with_body(model="gpt-5"), [("model_not_found", "body.model")]),
        (with_body(model=...), [("invalid_request", "body.model")]),
        (with_body(messages=...), [("invalid_request", "body.messages")]),
        (with_body(stream=True), [("streaming_unsupported", "body.stream")]),
        # JSON, yet not an object; wrong types; a method that is not POST
        (b"[]", [("invalid_request", None)]),
        (b"null", [("invalid_request", None)]),
        (b'"text"', [("invalid_request", None)]),
        (line(method="GET"), [("invalid_value", "method")]),
        (line(method="post"), [("invalid_value", "method")]),
        (line(method=1), [("invalid_value", "method")]),
        (line(custom_id=17), [("invalid_type", "custom_id")]),
        (line(custom_id=None), [("invalid_type", "custom_id")]),
        (line(custom_id="x" * 21), [("invalid_value", "custom_id")]),
        (line(body="text"), [("invalid_type", "body")]),
        (line(body=None), [("invalid_type", "body")]),
        (line(body=[]), [("invalid_type", "body")]),
        (with_body(model=3), [("invalid_request", "body.model")]),
        (with_body(model=None), [("invalid_request", "body.model")]),
        (with_body(messages="hello"), [("invalid_request", "body.messages")]),
        (with_body(messages=None), [("invalid_request", "body.messages")]),
    ],
)
def test_a_fault_has_the_code_and_the_field_of_the_contract(data, faults):
    assert told(data) == faults


def test_every_fault_of_a_line_is_told_at_once():
    bad = {"method": "GET", "url": "/v1/x", "body": {"stream": True, "model": "gpt-5"}}
    assert told(json.dumps(bad).encode()) == [
        ("missing_required_parameter", "custom_id"),
        ("invalid_value", "method"),
        ("invalid_url", "url"),
        ("model_not_found", "body.model"),
        ("streaming_unsupported", "body.stream"),
        ("invalid_request", "body.messages"),
    ]


def test_a_line_that_was_too_long_to_be_held_says_both_lengths():
    (fault,) = checker().check(RawLine(7, 0, 200_000, None))
    assert fault.code == "invalid_request"
    assert "200000" in fault.message
    assert "100000" in fault.message


@pytest.mark.parametrize("key", ["custom_id", "method", "url", "body"])
def test_a_key_of_the_envelope_stands_once(key):
    twice = line()[:-1] + b"," + json.dumps({key: LINE[key]}).encode()[1:]
    assert told(twice) == [("invalid_json_line", key)]


@pytest.mark.parametrize("key", ["model", "stream", "messages", "input", "prompt"])
def test_a_key_of_the_body_that_decides_what_is_sent_stands_once(key):
    body = f'{{"model":"m","messages":[],"{key}":1,"{key}":2}}'.encode()
    data = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":%b}' % body
    assert told(data) == [("invalid_json_line", f"body.{key}")]
    assert told(body) == [("invalid_json_line", key)]


@pytest.mark.parametrize(
    "changes",
    [
        {"messages": [{"role": "user", "content": '"model" "model" "body" "body"'}]},
        {"tools": [{"function": {"parameters": {"model": 1, "input": 2}}}], "metadata": {"model": "x"}},
        {"stream": False},
        {"stream": None},
        {"anything": {"else": [1, 2.5, None, True]}},
    ],
)
def test_the_rest_of_a_body_is_the_upstreams_business(changes):
    assert check(with_body(**changes)) == Fit("row-17", "m", 0)


def test_a_number_of_thousands_of_digits_is_the_upstreams_business_too():
    # Python reads no integer that long; the check once raised when "model" stood twice in such a line.
    data = with_body(seed=1, metadata={"model": "x"}).replace(b'"seed": 1', b'"seed": ' + b"9" * 5_000)
    assert check(data) == Fit("row-17", "m", 0)


def test_no_prompt_stands_in_a_message():
    # A body or messages that are a short string were once quoted, as a wrong method is.
    for data in (line(body="my secret"), with_body(messages="my secret"), b'{"my secret": "m"}'):
        assert not any("secret" in fault.message for fault in check(data))


@pytest.mark.parametrize(
    "url", [CHAT, "/chat/completions", "/v1/chat\\u002fcompletions", "\\/v1/chat/completions"]
)
def test_a_url_may_be_spelled_as_azure_does_or_with_escapes(url):
    data = line(url="@").replace(b'"@"', f'"{url}"'.encode())
    assert check(data) == Fit("row-17", "m", 0)


@pytest.mark.parametrize("model", ["m", "gpt-4o", "qwen3-8b"])
def test_a_model_is_known_by_its_name_an_alias_or_a_pattern(model):
    assert check(with_body(model=model)) == Fit("row-17", model, 0)


def test_an_unknown_model_is_told_what_there_is():
    (fault,) = check(with_body(model="gpt-5"))
    assert "'gpt-5'" in fault.message
    assert "gpt-4o, m" in fault.message


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_each_endpoint_wants_its_own_field_and_most_want_a_model(endpoint):
    needed = {
        "/v1/responses": None,
        "/v1/chat/completions": "messages",
        "/v1/embeddings": "input",
        "/v1/completions": "prompt",
        "/v1/moderations": "input",
        "/v1/images/generations": "prompt",
        "/v1/images/edits": "prompt",
        "/v1/videos": "prompt",
    }[endpoint]
    needs_model = endpoint in {"/v1/responses", CHAT, "/v1/embeddings", "/v1/completions"}
    expected = [("invalid_request", "body.model")] if needs_model else []
    expected += [("invalid_request", f"body.{needed}")] if needed else []
    empty = line(url=endpoint, body={})
    assert (told(empty, endpoint) if expected else []) == expected
    full = line(url=endpoint, body={"model": "m"} | ({needed: []} if needed else {}))
    assert isinstance(check(full, endpoint), Fit)


@pytest.mark.parametrize(
    ("value", "inputs"),
    [
        ("text", 1),
        (["a", "b", "c"], 3),
        ([1, 2, 3], 1),  # the tokens of one text
        ([[1, 2], [3]], 2),
        ([], 1),
        (None, 1),
    ],
)
def test_inputs_to_embed_are_counted_as_openai_counts_them(value, inputs):
    data = line(url="/v1/embeddings", body={"model": "m", "input": value})
    assert check(data, "/v1/embeddings") == Fit("row-17", "m", inputs)


def test_a_line_without_an_envelope_is_a_plain_body_named_by_its_line():
    assert check(json.dumps(BODY).encode()) == Fit("7", "m", 0)


def test_faults_of_a_plain_body_name_its_own_fields():
    plain = json.dumps({"model": "gpt-5", "stream": True}).encode()
    assert told(plain) == [
        ("model_not_found", "model"),
        ("streaming_unsupported", "stream"),
        ("invalid_request", "messages"),
    ]


def test_a_body_without_a_model_and_without_an_envelope_is_told_of_the_envelope():
    assert told(b'{"messages": []}')[0] == ("missing_required_parameter", "custom_id")


@pytest.mark.parametrize("custom_id", ['"row-\\u00e9"', '"a\\/b"', '"\\n"', '"é"', '""'])
def test_a_fault_carries_the_custom_id_as_it_stands_in_the_line(custom_id):
    data = line(custom_id="@", method="GET").replace(b'"@"', custom_id.encode())
    (fault,) = check(data)
    assert fault.custom_id == custom_id.encode()


@pytest.mark.parametrize("extra", [b"", b',"again":{"model":1}'], ids=["once", "twice"])
def test_nesting_has_a_limit_that_no_reader_behind_the_check_can_feel(extra):
    # Lines just below Python's own limit once passed here and broke whoever read them again, deeper down.
    def nested(depth: int) -> bytes:
        body = b'{"model":"m","messages":[]%b,"x":%b%b}' % (extra, b"[" * depth, b"]" * depth)
        return b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":%b}' % body

    assert isinstance(check(nested(254)), Fit)  # the line and its body are two more
    for depth in (255, 900, *range(980, 1_005), 100_000):
        assert told(nested(depth)) == [("invalid_json_line", None)]


def test_many_brackets_side_by_side_or_in_text_are_not_deep():
    wide = [[1]] * 500 + ['[[{{"\\' * 500]
    assert isinstance(check(with_body(messages=wide)), Fit)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
keys = st.sampled_from(["custom_id", "method", "url", "body", "model", "messages", "stream", "input", "x"])
likely = st.sampled_from(["POST", CHAT, "m", [], {}, True, None, "\ud800", "x" * 30, BODY, LINE])
objects = st.dictionaries(keys, likely | json_values | st.dictionaries(keys, likely | json_values))


@st.composite
def mangled(draw) -> bytes:
    """A line that is nearly right: any object, with some of its bytes replaced or cut out."""
    data = bytearray(json.dumps(draw(st.one_of(objects, st.just(LINE)))).encode("utf-8"))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=4) | st.just(b"\\ud800"))
    return bytes(data)


@settings(max_examples=150)
@given(st.one_of(st.binary(), mangled()))
@example(b'{"custom_id":"\\ud800","method":"POST","url":"\\ud800","body":{"model":"\\ud800"}}')
@example(b"\xef\xbb\xbf{}")
@example(b"\x00")
def test_any_bytes_are_either_fit_or_have_faults(data):
    data = data.replace(b"\n", b"")
    for endpoint in (CHAT, "/v1/embeddings"):
        checked = check(data, endpoint)
        if isinstance(checked, Fit):
            json.loads(data)
            custom_id, body = take_apart(data)
            assert isinstance(json.loads(body), dict)
            assert custom_id is None or json.loads(custom_id) == checked.custom_id
        else:
            assert checked
            assert all(json.loads(fault.custom_id or b"null") is not ... for fault in checked)


blank = st.text(" \t\r", max_size=3).map(str.encode)


@st.composite
def laid_out(draw, value) -> bytes:
    """The JSON of a value with any white space between its tokens, and any escapes in its strings."""
    if isinstance(value, dict):
        pairs = [
            draw(blank)
            + draw(laid_out(key))
            + draw(blank)
            + b":"
            + draw(blank)
            + draw(laid_out(inner))
            + draw(blank)
            for key, inner in value.items()
        ]
        return b"{" + (b",".join(pairs) or draw(blank)) + b"}"
    if isinstance(value, list):
        items = [draw(blank) + draw(laid_out(inner)) + draw(blank) for inner in value]
        return b"[" + (b",".join(items) or draw(blank)) + b"]"
    return json.dumps(value, ensure_ascii=draw(st.booleans())).encode("utf-8")


sound_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    st.data(),
    sound_text,
    st.dictionaries(sound_text, sound_text | st.lists(st.integers(), max_size=3), max_size=4),
)
def test_a_line_is_taken_apart_into_the_very_bytes_it_has(data, custom_id, extra):
    raw_id = data.draw(laid_out(custom_id))
    raw_body = data.draw(laid_out({**extra, "model": "m", "messages": []}))
    pieces = {
        "custom_id": raw_id,
        "method": b'"POST"',
        "url": b'"/v1/chat/completions"',
        "body": raw_body,
        "x": b"1",
    }
    order = data.draw(st.permutations(list(pieces)))
    pairs = [
        data.draw(blank) + b'"%b"' % key.encode() + data.draw(blank) + b":" + data.draw(blank) + pieces[key]
        for key in order
    ]
    whole = b"{" + b",".join(pair + data.draw(blank) for pair in pairs) + b"}"
    assert take_apart(whole) == (raw_id, raw_body)
    checked = check(whole)
    assert checked == Fit(custom_id, "m", 0) if len(custom_id) <= 20 else isinstance(checked, list)


@given(st.data(), st.dictionaries(sound_text, sound_text, max_size=4))
def test_a_plain_body_is_sent_as_it_stands(data, extra):
    body = data.draw(
        laid_out({"model": "m", "messages": []} | {f"x{key}": value for key, value in extra.items()})
    )
    assert take_apart(body) == (None, body)
    assert check(body) == Fit("7", "m", 0)

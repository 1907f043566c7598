"""The two things that are ever done to a body, and what they leave alone."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.core.body import edited, on_one_line

text = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=10,
)
layouts = st.sampled_from([{}, {"indent": 1}, {"indent": "\t"}, {"separators": (",\r\n", " :\n")}])


@given(values, layouts, st.booleans(), st.sampled_from([b"", b"\n", b"\r\n"]))
def test_on_one_line_a_value_is_the_same_value(value, layout, ascii_only, end):
    body = json.dumps(value, ensure_ascii=ascii_only, **layout).encode() + end
    flat = on_one_line(body)
    assert b"\n" not in flat
    assert b"\r" not in flat
    assert json.loads(flat) == json.loads(body)
    assert len(flat) == len(body)


def test_a_body_on_one_line_already_is_not_even_copied():
    body = b'{"a": "\\n"}'
    assert on_one_line(body) is body


@given(st.dictionaries(text, values, max_size=5), text, layouts)
def test_another_model_leaves_every_other_value_its_bytes(rest, model, layout):
    fields = rest | {"model": "old", "last": 1}
    body = json.dumps(fields, **layout).encode()
    changed = edited(body, put={"model": model})
    before, after = (msgspec.json.decode(data, type=dict[str, msgspec.Raw]) for data in (body, changed))
    assert list(after) == list(before)
    assert {key: bytes(raw) for key, raw in after.items() if key != "model"} == {
        key: bytes(raw) for key, raw in before.items() if key != "model"
    }
    assert json.loads(changed) == fields | {"model": model}


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        (b'{"model":"a","seed":1.50e1}', b'{"model":"b","seed":1.50e1}'),
        (b'{ "x" : "\\u00e9" , "model" : "a" }', b'{"x":"\\u00e9","model":"b"}'),
        (b'{"seed":12345678901234567890123}', b'{"seed":12345678901234567890123,"model":"b"}'),
    ],
)
def test_numbers_and_escapes_keep_their_spelling(body, changed):
    assert edited(body, put={"model": "b"}) == changed


def test_fields_are_put_in_and_taken_out_and_the_others_stay():
    body = b'{"model":"a","priority":9,"seed":1.50e1,"user":"me"}'
    changed = edited(body, put={"priority": -1, "service_tier": "flex"}, drop=["user", "absent"])
    assert changed == b'{"model":"a","priority":-1,"seed":1.50e1,"service_tier":"flex"}'

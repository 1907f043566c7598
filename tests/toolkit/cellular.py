"""Cells and rows of every kind, for property tests."""

from __future__ import annotations

from datetime import UTC, timedelta, timezone
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from bulkrate.toolkit.rows.table import Vector

ZONES = st.sampled_from(
    [UTC, timezone(timedelta(hours=-5, minutes=-30)), ZoneInfo("UTC"), ZoneInfo("Europe/Berlin")]
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VECTORS = st.one_of(
    st.binary().map(lambda raw: Vector(dtype="int8", data=raw, scale=0.125)),
    st.lists(st.binary(min_size=2, max_size=2)).map(lambda raw: Vector(dtype="float16", data=b"".join(raw))),
    st.lists(st.binary(min_size=4, max_size=4)).map(lambda raw: Vector(dtype="float32", data=b"".join(raw))),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    TEXTS,
    st.binary(),
    st.dates(),
    st.times(),
    st.times(timezones=st.sampled_from([UTC, timezone(timedelta(minutes=90))])),
    st.datetimes(),
    st.datetimes(timezones=ZONES),
    st.timedeltas(),
    st.decimals(allow_nan=False),
    st.uuids(),
)
CELLS = st.one_of(
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
        max_leaves=8,
    ),
    VECTORS,
)
ROWS = st.dictionaries(TEXTS, CELLS, max_size=6)

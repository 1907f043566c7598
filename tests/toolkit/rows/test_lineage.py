"""What is remembered of answered rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.errors import SourceError, StoreError
from bulkrate.toolkit.rows.lineage import Lineage, Place, content_hash, distinct, key_of

cells = (
    st.text(st.characters(), max_size=6)
    | st.booleans()
    | st.integers(-3, 3)
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.binary(max_size=6)
    | st.dates()
    | st.times()
    | st.datetimes()
    | st.decimals(allow_nan=False, allow_infinity=False)
)
digests = st.binary(min_size=16, max_size=16)


@pytest.fixture
def lineage(tmp_path: Path) -> Iterator[Lineage]:
    with Lineage(tmp_path / "lineage.db") as opened:
        yield opened


@given(st.lists(cells, min_size=2, max_size=2), st.lists(cells, min_size=2, max_size=2))
def test_two_rows_have_one_key_only_if_their_cells_and_types_agree(one: list[Any], other: list[Any]) -> None:
    alike = all(
        type(a) is type(b) and (str(a) == str(b) if isinstance(a, Decimal) else a == b)
        for a, b in zip(one, other, strict=True)
    )
    key = key_of(dict(zip("ab", one, strict=True)), "ab")
    assert (key == key_of(dict(zip("ab", other, strict=True)), "ab")) is alike
    assert key == key_of(dict(zip("ab", one, strict=True)), "ab")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("1",), (1,)),
        ((1,), (True,)),
        ((1,), (1.0,)),
        ((1,), (Decimal(1),)),
        (("a", "bc"), ("ab", "c")),
        (("t1:a", ""), ("", "t1:a")),
        ((date(2026, 1, 1),), (datetime(2026, 1, 1),)),  # noqa: DTZ001 (a cell without a zone)
        (("12:00:00",), (time(12),)),
        ((b"a",), ("a",)),
        (("\ud800",), ("\ud801",)),
    ],
)
def test_keys_that_look_alike_are_told_apart(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    columns = "ab"[: len(one)]
    keys = [key_of(dict(zip(columns, cells, strict=True)), columns) for cells in (one, other)]
    assert keys[0] != keys[1]
    assert list(distinct(keys, columns)) == keys


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        (None, "key column 'id' is empty"),
        ([1], "holds a list"),
        ({}, "holds a dict"),
        (float("nan"), "holds a float"),
        (Decimal("NaN"), "holds a Decimal"),
    ],
)
def test_a_cell_that_cannot_tell_rows_apart_is_refused(cell: Any, says: str) -> None:
    with pytest.raises(SourceError, match=says):
        key_of({"id": cell}, ["id"])


def test_a_key_column_that_is_missing_is_named_with_those_there_are() -> None:
    with pytest.raises(SourceError, match=r"no key column 'sku'; there are 'id', 'text'"):
        key_of({"id": 1, "text": "x"}, ["sku"])


@given(st.lists(st.integers(0, 30).map(str), max_size=40))
def test_equal_keys_are_found_and_the_first_two_rows_named(keys: list[str]) -> None:
    again = next((number for number, key in enumerate(keys) if key in keys[:number]), None)
    if again is None:
        assert list(distinct(keys, ["id"])) == keys
        return
    with pytest.raises(SourceError) as refused:
        list(distinct(keys, ["id"]))
    # Of all keys that repeat, the one whose first row comes first.
    first = min(number for number, key in enumerate(keys) if keys.count(key) > 1)
    second = keys.index(keys[first], first + 1)
    assert f"rows {first + 1} and {second + 1} have the same 'id'" in str(refused.value)


def test_what_changes_the_answer_changes_the_hash() -> None:
    asked = [
        content_hash("/v1/chat/completions", "small", b"{}"),
        content_hash("/v1/responses", "small", b"{}"),
        content_hash("/v1/chat/completions", "big", b"{}"),
        content_hash("/v1/chat/completions", "small", b"{} "),
        content_hash("/v1/chat/completions", "smal", b"l{}"),
    ]
    assert len(set(asked)) == len(asked)
    assert asked[0] == content_hash("/v1/chat/completions", "small", b"{}")


def test_a_row_is_known_until_it_changes(lineage: Lineage) -> None:
    lineage.remember("reviews", "job-1", [("a", b"1" * 16, 0), ("b", b"2" * 16, 1)])
    asked = [("b", b"2" * 16), ("a", b"9" * 16), ("c", b"1" * 16), ("a", b"1" * 16)]
    assert list(lineage.known("reviews", asked)) == [Place("job-1", 1), None, None, Place("job-1", 0)]


def test_the_newest_answer_of_a_row_counts(lineage: Lineage) -> None:
    lineage.remember("reviews", "job-1", [("a", b"1" * 16, 0)])
    lineage.remember("reviews", "job-2", [("a", b"2" * 16, 7)])
    assert list(lineage.known("reviews", [("a", b"1" * 16), ("a", b"2" * 16)])) == [None, Place("job-2", 7)]


def test_scopes_know_nothing_of_each_other(lineage: Lineage) -> None:
    lineage.remember("reviews", "job-1", [("a", b"1" * 16, 0)])
    assert list(lineage.known("tickets", [("a", b"1" * 16)])) == [None]


def test_rows_of_a_forgotten_job_are_new_again_and_others_stay(lineage: Lineage) -> None:
    lineage.remember("reviews", "job-1", [("a", b"1" * 16, 0), ("b", b"1" * 16, 1)])
    lineage.remember("reviews", "job-2", [("b", b"1" * 16, 5)])
    lineage.forget("job-1")
    lineage.forget("never heard of")
    assert list(lineage.known("reviews", [("a", b"1" * 16), ("b", b"1" * 16)])) == [None, Place("job-2", 5)]


def test_what_was_remembered_is_there_after_the_file_was_closed(tmp_path: Path) -> None:
    with Lineage(tmp_path / "lineage.db") as lineage:
        lineage.remember("reviews", "job-1", [("a", b"1" * 16, 0)])
    with Lineage(tmp_path / "lineage.db") as lineage:
        assert list(lineage.known("reviews", [("a", b"1" * 16)])) == [Place("job-1", 0)]


def test_rows_are_remembered_together_or_not_at_all(lineage: Lineage) -> None:
    def half() -> Iterator[tuple[str, bytes, int]]:
        yield "a", b"1" * 16, 0
        raise OSError("the results cannot be read on")

    with pytest.raises(OSError, match="cannot be read on"):
        lineage.remember("reviews", "job-1", half())
    assert list(lineage.known("reviews", [("a", b"1" * 16)])) == [None]
    lineage.remember("reviews", "job-1", [("a", b"1" * 16, 0)])
    assert list(lineage.known("reviews", [("a", b"1" * 16)])) == [Place("job-1", 0)]


def test_two_may_have_the_file_open(tmp_path: Path) -> None:
    with Lineage(tmp_path / "lineage.db") as one, Lineage(tmp_path / "lineage.db") as other:
        # While one takes in rows the other commits: the file is locked only when they are put in.
        def rows() -> Iterator[tuple[str, bytes, int]]:
            yield "a", b"1" * 16, 0
            other.remember("reviews", "job-2", [("b", b"2" * 16, 1)])

        one.remember("reviews", "job-1", rows())
        assert list(other.known("reviews", [("a", b"1" * 16), ("b", b"2" * 16)])) == [
            Place("job-1", 0),
            Place("job-2", 1),
        ]


def _garbage(path: Path) -> None:
    path.write_bytes(b"not a database, " * 100)


def _newer(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=99")
    connection.close()


@pytest.mark.parametrize(("spoil", "says"), [(_garbage, "not a database"), (_newer, "another bulkrate")])
def test_a_file_that_is_not_ours_is_refused(tmp_path: Path, spoil: Callable[[Path], None], says: str) -> None:
    spoil(tmp_path / "lineage.db")
    with pytest.raises(StoreError, match=says):
        Lineage(tmp_path / "lineage.db")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["reviews", "tickets"]),
            st.sampled_from(["job-1", "job-2", "job-3"]),
            st.lists(st.tuples(st.sampled_from("abcd"), digests, st.integers(0, 2**40)), max_size=6),
            st.booleans(),
        ),
        max_size=6,
    )
)
def test_it_says_what_a_dictionary_would(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[str, str, list[tuple[str, bytes, int]], bool]],
) -> None:
    model: dict[tuple[str, str], tuple[bytes, Place]] = {}
    with Lineage(tmp_path_factory.mktemp("lineage") / "lineage.db") as lineage:
        for scope, job_id, rows, forgotten in steps:
            lineage.remember(scope, job_id, rows)
            model |= {(scope, key): (asked, Place(job_id, number)) for key, asked, number in rows}
            if forgotten:
                lineage.forget(job_id)
                model = {at: kept for at, kept in model.items() if kept[1].job_id != job_id}
        for scope in ("reviews", "tickets"):
            asked = [(key, model.get((scope, key), (b"none", None))[0]) for key in "abcd"]
            expected = [model[scope, key][1] if (scope, key) in model else None for key in "abcd"]
            assert list(lineage.known(scope, asked)) == expected

"""Tables of SQLite, DuckDB and PostgreSQL: one transaction, replaced, lengthened or merged by key."""

from __future__ import annotations

import json
import struct
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkrate.errors import SinkError
from bulkrate.toolkit.rows.table import Column, Table, Vector
from bulkrate.toolkit.sinks import open_sink
from bulkrate.toolkit.sources import open_source
from tests.toolkit.cellular import SCALARS, TEXTS
from tests.toolkit.databases import DuckdbPlace, PostgresqlPlace, SqlitePlace

_TABLE = Table(
    columns=(Column(name="id"), Column(name="text", kind="text"), Column(name="label", kind="text"))
)
_KEYED = Table(columns=_TABLE.columns, keys=("id",))
_ROWS = [{"id": n, "text": f"t{n}", "label": "new"} for n in (1, 2, 3)]


def _write(place, rows, table=_TABLE, name="answers", **options):
    sink = open_sink(place.address, table=name, **options)
    sink.open(table)
    try:
        for row in rows:
            sink.write([row])
        sink.commit()
    finally:
        sink.discard()


def _all(place, columns="*", name="answers"):
    return sorted(place.ask(f'SELECT {columns} FROM "{name}"'))


def test_a_table_is_made_where_there_is_none(place):
    _write(place, _ROWS)
    assert _all(place) == [(1, "t1", "new"), (2, "t2", "new"), (3, "t3", "new")]


def test_without_keys_a_table_is_replaced(place):
    place.ask("CREATE TABLE answers (other INTEGER)")
    place.ask("INSERT INTO answers VALUES (7)")
    for _ in range(2):
        _write(place, _ROWS)
        assert _all(place, "id, label") == [(1, "new"), (2, "new"), (3, "new")]


def test_rows_are_appended_where_that_is_asked_for(place):
    for rows in (_ROWS[:1], _ROWS[1:]):
        _write(place, rows, mode="append")
    assert _all(place, "id") == [(1,), (2,), (3,)]


def test_by_key_rows_are_overwritten_or_added_and_others_left_alone(place):
    place.ask("CREATE TABLE answers (id INTEGER, text VARCHAR(20), price DOUBLE PRECISION)")
    place.ask("INSERT INTO answers VALUES (1, 'old', 1.5), (9, 'nine', 9.5)")
    for _ in range(2):
        _write(place, _ROWS, _KEYED)
        assert _all(place, "id, text, price, label") == [
            (1, "t1", 1.5, "new"),
            (2, "t2", None, "new"),
            (3, "t3", None, "new"),
            (9, "nine", 9.5, None),
        ]


def test_several_keys_tell_rows_apart_together(place):
    table = Table(columns=(Column(name="a"), Column(name="b c"), Column(name='d"e')), keys=("a", "b c"))
    for answer in ("x", "y"):
        _write(place, [{"a": n, "b c": text, 'd"e': answer} for n in (1, 2) for text in ("u", "v")], table)
    assert _all(place) == [(1, "u", "y"), (1, "v", "y"), (2, "u", "y"), (2, "v", "y")]


def test_merging_many_rows_is_no_matter_of_pairs(place):
    rows = [{"id": f"key {n}", "text": "t", "label": "new"} for n in range(60_000)]
    for _ in range(2):  # row by row through all rows, this would take minutes
        sink = open_sink(place.address, table="answers")
        sink.open(_KEYED)
        sink.write(rows)
        sink.commit()
    assert place.ask("SELECT count(*) FROM answers") == [(60_000,)]


def test_a_table_of_keys_alone_is_merged(place):
    table = Table(columns=(Column(name="id"),), keys=("id",))
    for ids in ((1, 2), (2, 3)):
        _write(place, [{"id": n} for n in ids], table)
    assert _all(place) == [(1,), (2,), (3,)]


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"id": 1}, {"id": 1}], "1 keys stand on more than one row"),
        ([{"id": 1}, {"id": None}], "1 rows have an empty key"),
    ],
)
def test_rows_that_keys_do_not_tell_apart_are_refused_and_nothing_is_written(place, there, rows, says):
    if there:
        place.ask("CREATE TABLE answers (id INTEGER)")
        place.ask("INSERT INTO answers VALUES (9)")
    with pytest.raises(SinkError, match=says):
        _write(place, rows, _KEYED)
    assert not there or _all(place) == [(9,)]


def test_nobody_sees_anything_before_the_commit_or_after_a_discard(place):
    _write(place, _ROWS)
    sink = open_sink(f"{place.address}#answers")
    sink.open(_TABLE)
    sink.write([{"id": 4}])
    assert len(_all(place)) == 3
    sink.discard()
    assert len(_all(place)) == 3


def test_a_database_that_was_not_there_is_not_made_by_a_check(tmp_path):
    for kind in (SqlitePlace, DuckdbPlace):
        place = kind(tmp_path)
        sink = open_sink(place.address, table="answers")
        sink.open(_TABLE)
        assert not place.path.exists()
        sink.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_table_with_types_that_do_not_fit_is_refused_before_anything_was_paid_for(postgres):
    postgres.ask("CREATE TABLE answers (id INTEGER, vector DATE)")
    table = Table(columns=(Column(name="id"), Column(name="vector", kind="boolean")), keys=("id",))
    with pytest.raises(SinkError, match="answers: "):
        open_sink(postgres.address, table="answers").open(table)


@pytest.mark.parametrize(
    ("address", "table", "options", "says"),
    [
        ("sqlite:///t.db", None, {}, "into which table"),
        ("sqlite:///t.db#a", "b", {}, "name it once"),
        ("sqlite:///t.db?table=a&x=1", None, {}, "write sqlite:///file.db for a file here"),
        ("sqlite://t.db#a", None, {}, "write sqlite:///file.db for a file here"),
        ("sqlite:///nowhere/t.db", "a", {}, "there is no folder nowhere; make it first"),
        ("duckdb:///nowhere/t.db", "a", {}, "there is no folder nowhere; make it first"),
        (
            "sqlite:///t.db",
            "a",
            {"mode": "merge"},
            "mode 'merge' is not known; there are replace, append, upsert",
        ),
        ("sqlite:///t.db", "a", {"mode": "upsert"}, "upsert needs key columns"),
        ("sqlite:///t.db", "a", {"colour": "red"}, "colour: no such option"),
        ("postgresql://u:secret@127.0.0.1:1/d", "a", {}, "postgresql://u@127.0.0.1:1/d#a: "),
    ],
)
def test_what_cannot_be_written_is_refused_at_once(tmp_path, monkeypatch, address, table, options, says):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SinkError, match=says) as raised:
        open_sink(address, table=table, **options).open(_TABLE)
    assert "secret" not in str(raised.value)


def test_a_missing_key_column_is_named(place):
    table = Table(columns=_TABLE.columns, keys=("sku",))
    with pytest.raises(SinkError, match="there is no key column 'sku'; there are id, text, label"):
        open_sink(place.address, table="answers").open(table)


def test_a_user_without_rights_hears_so_before_anything_was_paid_for(postgres):
    postgres.ask("CREATE TABLE answers (id integer)")
    postgres.ask("DROP ROLE IF EXISTS reader")
    postgres.ask("CREATE ROLE reader LOGIN")
    postgres.ask("GRANT SELECT ON answers TO reader")
    address = postgres.address.replace("bulkrate@", "reader@")
    for table, mode in (("answers", "append"), ("answers", "replace"), ("other", "replace")):
        with pytest.raises(SinkError, match=r"permission denied|must be owner"):
            open_sink(address, table=table, mode=mode).open(_TABLE)


def test_a_schema_may_be_named(postgres):
    postgres.ask("CREATE SCHEMA lab")
    for _ in range(2):
        _write(postgres, _ROWS, _KEYED, name="lab.answers")
    assert postgres.ask("SELECT count(*) FROM lab.answers") == [(3,)]
    _write(postgres, _ROWS, name="lab.answers")
    assert postgres.ask("SELECT count(*) FROM lab.answers") == [(3,)]


_CELLS = {
    "flag": True,
    "n": 2**62,
    "x": 0.1,
    "d": Decimal("1.50"),
    "on": date(2026, 1, 31),
    "at": datetime(2026, 1, 1, 12, 0, 0, 1, tzinfo=UTC),
    "span": timedelta(days=-1, microseconds=1),
    "b": b"\x00\xff",
    "j": {"a": [1, "ü"]},
    "t": 'tab\t newline\n quote" back\\slash',
}


def test_postgresql_has_a_type_for_each(postgres):
    table = Table(columns=tuple(Column(name=name) for name in _CELLS))
    _write(postgres, [_CELLS, {}, {"t": "\\N"}], table)
    names = ", ".join(f'"{name}"' for name in _CELLS)
    assert postgres.ask(f"SELECT {names} FROM answers WHERE flag") == [tuple(_CELLS.values())]
    assert postgres.ask("SELECT t FROM answers WHERE flag IS NULL AND t IS NOT NULL") == [("\\N",)]
    assert next(open_source(postgres.address, table="answers").rows()) == _CELLS


def test_duckdb_keeps_what_arrow_tells(tmp_path):
    place = DuckdbPlace(tmp_path)
    table = Table(columns=tuple(Column(name=name) for name in _CELLS if name != "at"))
    _write(place, [_CELLS, {}], table)
    found = place.ask('SELECT flag, n, x, d, "on", span, b, j, t FROM answers WHERE flag')
    assert found == [
        (
            True,
            2**62,
            0.1,
            Decimal("1.50"),
            date(2026, 1, 31),
            _CELLS["span"],
            b"\x00\xff",
            '{"a":[1,"ü"]}',
            _CELLS["t"],
        )
    ]


def test_sqlite_has_texts_for_what_it_has_no_type_for(tmp_path):
    place = SqlitePlace(tmp_path)
    table = Table(columns=tuple(Column(name=name) for name in _CELLS))
    _write(place, [_CELLS], table)
    ((flag, n, x, d, on, at, _, b, j, t),) = place.ask("SELECT * FROM answers")
    assert (flag, n, x, d, on, at) == (1, 2**62, 0.1, "1.50", "2026-01-31", "2026-01-01T12:00:00.000001Z")
    assert (b, json.loads(j), t) == (b"\x00\xff", {"a": [1, "ü"]}, _CELLS["t"])


def test_a_nul_is_written_as_the_sign_for_what_is_missing(postgres):
    table = Table(columns=(Column(name="t"), Column(name="j", kind="json")))
    _write(postgres, [{"t": "a\0b", "j": {"k": "a\0b\\u0000"}}], table)
    assert postgres.ask("SELECT t, j FROM answers") == [("a\ufffdb", {"k": "a\ufffdb\\u0000"})]


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_vectors_are_arrays_where_there_are_arrays(place, dtype):
    letter = {"float32": "f", "float16": "e", "int8": "b"}[dtype]
    numbers = [1, -2] if dtype == "int8" else [1.5, -2.0]
    vector = Vector(dtype=dtype, data=struct.pack(f"<2{letter}", *numbers), scale=0.5)
    table = Table(columns=(Column(name="id"), Column(name="v", kind="vector", dtype=dtype)), keys=("id",))
    for _ in range(2):
        _write(place, [{"id": 1, "v": vector}, {"id": 2}], table)
    columns = "id, v, v_scale" if dtype == "int8" else "id, v"
    (one, two) = _all(place, columns)
    found = json.loads(one[1]) if isinstance(place, SqlitePlace) else list(one[1])
    assert found == numbers
    assert two[1] is None
    if dtype == "int8":
        assert one[2] == 0.5


_PORTABLE = st.lists(
    SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(TEXTS, SCALARS, max_size=2), max_size=6
)


@given(cells=_PORTABLE)
@settings(max_examples=10)
def test_no_cells_together_are_too_odd_for_a_database(postgres_root, tmp_path_factory, cells):
    folder: Path = tmp_path_factory.mktemp("odd")
    table = Table(columns=(Column(name="n"), Column(name="c"), Column(name="j", kind="json")), keys=("n",))
    rows = [{"n": n, "c": cell, "j": cell} for n, cell in enumerate(cells)]
    for place in (SqlitePlace(folder), DuckdbPlace(folder), PostgresqlPlace(f"{postgres_root}/postgres")):
        _write(place, rows, table, mode="replace")
        found = _all(place, "n, c IS NULL, j IS NULL")
        assert [(n, bool(c), bool(j)) for n, c, j in found] == [
            (n, cell is None, cell is None) for n, cell in enumerate(cells)
        ]

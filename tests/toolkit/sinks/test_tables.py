"""What is written is what is read: types of the source, vectors, and columns that change their mind."""

from __future__ import annotations

import struct
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.errors import SinkError
from bulkrate.toolkit.rows import arrow
from bulkrate.toolkit.rows.table import Column, Table, Vector
from bulkrate.toolkit.sinks import open_sink
from bulkrate.toolkit.sources import open_source
from tests.toolkit.cellular import SCALARS, TEXTS
from tests.toolkit.sources.test_tables import TYPES


def _written(path, table, rows, group=1_000):
    sink = open_sink(path)
    sink.open(table)
    for first in range(0, len(rows), group):
        sink.write(rows[first : first + group])
    sink.commit()
    return path


def _column(tmp_path, cells, *, kind="any", group=1_000, name="t.parquet"):
    table = Table(columns=(Column(name="c", kind=kind),))
    rows = [{"c": cell} for cell in cells]
    return pq.read_table(_written(tmp_path / name, table, rows, group)).column("c")


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow"])
def test_columns_of_the_source_keep_its_types_through_a_job(tmp_path, name):
    fields, columns = [], []
    for number, (kind, values, _) in enumerate(TYPES):
        spelled = kind.value_type if pa.types.is_dictionary(kind) else kind
        fields.append(pa.field(f"c{number}", spelled if name == "t.arrow" else kind))
        padded = [*values, *[None] * (3 - len(values))]
        array = pa.array(padded, type=spelled)
        columns.append(array if spelled is fields[-1].type else arrow.array_of(padded, kind))
    given_table = pa.table(columns, schema=pa.schema(fields))
    source = open_source(given_table)
    table = Table(columns=(*source.columns, Column(name="answer", kind="text")), arrow=source.arrow)
    path = _written(tmp_path / name, table, [{**row, "answer": "yes"} for row in source.rows()])
    read = pq.read_table(path) if name == "t.parquet" else pyarrow.feather.read_table(path)
    assert read.column_names == [*given_table.column_names, "answer"]
    for field in fields:
        assert read.column(field.name).to_pylist() == given_table.column(
            field.name
        ).to_pylist() or pa.types.is_time64(field.type)
    # Parquet itself has no seconds, no dictionary of one byte and no null; Arrow wrote the rest as it was.
    if name == "t.arrow":
        assert read.schema.remove(len(fields)) == given_table.schema


@pytest.mark.parametrize(
    ("cells", "kind", "back"),
    [
        ([1, None, 2.5], pa.float64(), [1.0, None, 2.5]),
        ([1, 2**53 + 1, 2.5], pa.string(), ["1", "9007199254740993", "2.5"]),
        ([1, 2**70], pa.decimal128(22, 0), [Decimal(1), Decimal(2**70)]),
        ([1, Decimal("1.50")], pa.decimal128(3, 2), [Decimal("1.00"), Decimal("1.50")]),
        ([Decimal("1E+3"), Decimal("0.001")], pa.decimal128(7, 3), [Decimal("1000.000"), Decimal("0.001")]),
        ([Decimal("1E+80"), 1], pa.string(), ["1E+80", "1"]),
        ([Decimal("NaN"), 1], pa.string(), ["null", "1"]),
        ([1, "a", None, True], pa.string(), ["1", "a", None, "true"]),
        ([True, None], pa.bool_(), [True, None]),
        ([True, 1], pa.string(), ["true", "1"]),
        ([None, None], pa.string(), [None, None]),
        ([], pa.string(), []),
        ([{"a": 1}, None, [2]], pa.string(), ['{"a":1}', None, "[2]"]),
        ([{"a": 1}, "x"], pa.string(), ['{"a":1}', "x"]),
        (
            [date(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC)],
            pa.string(),
            ["2026-01-01", "2026-01-01T00:00:00Z"],
        ),
        ([datetime(2026, 1, 1, tzinfo=UTC)], pa.timestamp("us", "UTC"), [datetime(2026, 1, 1, tzinfo=UTC)]),
        ([time(1, 2), None], pa.time64("us"), [time(1, 2), None]),
        ([time(1, 2, tzinfo=UTC)], pa.string(), ["01:02:00Z"]),
        ([timedelta(1)], pa.duration("us"), [timedelta(1)]),
        ([b"a", "a"], pa.string(), ["YQ==", "a"]),
        ([UUID(int=1)], pa.string(), [str(UUID(int=1))]),
        ([float("nan"), 1], pa.float64(), None),
    ],
)
@pytest.mark.parametrize("group", [1, 100])
def test_a_column_of_no_known_type_becomes_what_all_its_cells_fit_in(tmp_path, cells, kind, back, group):
    column = _column(tmp_path, cells, group=group)
    assert column.type == kind
    if back is not None:
        assert column.to_pylist() == back


def test_one_odd_cell_at_the_end_of_many_rows_loses_nothing(tmp_path):
    cells = [*range(20_000), "the last"]
    assert _column(tmp_path, cells).to_pylist() == [str(cell) for cell in cells]


@given(cells=st.lists(SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(TEXTS, SCALARS, max_size=2)))
def test_no_cells_together_are_too_odd_for_a_table(tmp_path_factory, cells):
    folder = tmp_path_factory.mktemp("odd")
    for kind in ("any", "text", "json", "integer", "number", "boolean"):
        column = _column(folder, cells, kind=kind, group=3)
        assert [cell is None for cell in column.to_pylist()] == [cell is None for cell in cells]
    for name in ("t.jsonl", "t.csv"):
        table = Table(columns=(Column(name="c"), Column(name="n")))
        _written(folder / name, table, [{"c": cell, "n": n} for n, cell in enumerate(cells)])
        assert [int(row["n"]) for row in open_source(folder / name).rows()] == list(range(len(cells)))


@pytest.mark.parametrize(
    ("kind", "cells", "wanted"),
    [
        ("text", [None], pa.string()),
        ("integer", [None, 1], pa.int64()),
        ("number", [None, 1], pa.float64()),
        ("number", ["n/a", 1], pa.string()),
        ("boolean", [None], pa.bool_()),
        ("json", [{"a": 1}, "text", None], pa.string()),
    ],
)
def test_a_new_column_has_the_type_of_its_kind_unless_a_cell_cannot(tmp_path, kind, cells, wanted):
    column = _column(tmp_path, cells, kind=kind)
    assert column.type == wanted
    if kind == "json":
        assert column.to_pylist() == ['{"a":1}', '"text"', None]


def test_moments_of_one_zone_keep_it_and_of_several_are_told_in_utc(tmp_path):
    here = datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    there = datetime(2026, 1, 1, tzinfo=UTC)
    column = _column(tmp_path, [here, there])
    assert column.type == pa.timestamp("us", "UTC")
    assert column.to_pylist() == [here, there]


_VECTORS = {
    "float32": (pa.float32(), struct.pack("<3f", 1.5, -2.0, 0.25), [1.5, -2.0, 0.25]),
    "float16": (pa.float16(), struct.pack("<3e", 1.5, -2.0, 0.25), [1.5, -2.0, 0.25]),
    "int8": (pa.int8(), struct.pack("<3b", 127, -128, 0), [127, -128, 0]),
}


@pytest.mark.parametrize("dtype", _VECTORS)
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("name", ["t.parquet", "t.arrow"])
def test_vectors_are_lists_of_a_fixed_size(tmp_path, dtype, known, name):
    kind, data, numbers = _VECTORS[dtype]
    column = Column(name="v", kind="vector", dtype=dtype, dimensions=3 if known else None)
    vector = Vector(dtype=dtype, data=data, scale=0.5)
    path = _written(
        tmp_path / name,
        Table(columns=(Column(name="id"), column)),
        [{"id": 1, "v": None}, {"id": 2, "v": vector}, {"id": 3}],
        group=1,
    )
    read = pq.read_table(path) if name == "t.parquet" else pyarrow.feather.read_table(path)
    assert read.schema.field("v").type == pa.list_(kind, 3)
    assert read.column("v").to_pylist() == [None, numbers, None]
    if dtype == "int8":
        assert read.column("v_scale").to_pylist() == [None, 0.5, None]
    matrix = read.column("v").combine_chunks().drop_null().flatten().to_numpy(zero_copy_only=False)
    assert matrix.tobytes() == data
    if dtype != "float16":
        assert pl.from_arrow(read)["v"].to_list() == [None, numbers, None]


@pytest.mark.parametrize(("name", "told"), [("t.jsonl", None), ("t.csv", str)])
def test_vectors_are_lists_of_numbers_in_text(tmp_path, name, told):
    vector = Vector(dtype="int8", data=bytes([1, 255]), scale=0.5)
    table = Table(columns=(Column(name="v", kind="vector", dtype="int8"),))
    row = next(iter(open_source(_written(tmp_path / name, table, [{"v": vector}])).rows()))
    assert row == ({"v": "[1,-1]", "v_scale": "0.5"} if told else {"v": [1, -1], "v_scale": 0.5})


def test_a_column_without_any_vector_is_a_column_all_the_same(tmp_path):
    table = Table(columns=(Column(name="v", kind="vector"),))
    assert pq.read_table(_written(tmp_path / "t.parquet", table, [{}])).column("v").to_pylist() == [None]


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (
            Vector(dtype="float32", data=bytes(8)),
            "vectors of 3 numbers of float32, but one of 2 numbers of float32",
        ),
        (Vector(dtype="int8", data=bytes(3)), "but one of 3 numbers of int8"),
        ("text", "holds vectors, and other cells beside them"),
    ],
)
def test_vectors_that_do_not_fit_are_refused(tmp_path, other, says):
    sink = open_sink(tmp_path / "t.parquet")
    sink.open(Table(columns=(Column(name="v", kind="vector"),)))
    sink.write([{"v": Vector(dtype="float32", data=bytes(12))}])
    with pytest.raises(SinkError, match=says):
        sink.write([{"v": other}])
    sink.discard()


def test_a_cell_that_no_longer_fits_the_source_is_named(tmp_path):
    source = open_source(pa.table({"n": [1]}))
    sink = open_sink(tmp_path / "t.parquet")
    sink.open(Table(columns=source.columns, arrow=source.arrow))
    sink.write([{"n": "one"}])
    with pytest.raises(SinkError, match=r"t\.parquet, rows 1 to 1, column 'n': a cell that is no int64"):
        sink.commit()
    sink.discard()
    assert list(tmp_path.iterdir()) == []


def test_json_holds_what_json_cannot_by_rule(tmp_path):
    cells = {
        "at": datetime(2026, 1, 1, tzinfo=UTC),
        "on": date(2026, 1, 1),
        "d": Decimal("1.50"),
        "nan": Decimal("NaN"),
        "inf": float("inf"),
        "b": b"a",
        "u": UUID(int=1),
        "deep": {"d": [Decimal("Infinity"), "NaN"]},
        "big": 2**70,
    }
    table = Table(columns=tuple(Column(name=name) for name in cells))
    line = _written(tmp_path / "t.jsonl", table, [cells]).read_text()
    assert '"d":1.50,' in line
    assert msgspec.json.decode(line) == {
        "at": "2026-01-01T00:00:00Z",
        "on": "2026-01-01",
        "d": 1.5,
        "nan": None,
        "inf": None,
        "b": "YQ==",
        "u": "00000000-0000-0000-0000-000000000001",
        "deep": {"d": [None, "NaN"]},
        "big": 2**70,
    }


def test_row_groups_are_bounded(tmp_path):
    table = Table(columns=(Column(name="n"), Column(name="v", kind="vector")))
    vector = Vector(dtype="float32", data=np.zeros(16_384, np.float32).tobytes())
    rows = [{"n": n, "v": vector} for n in range(3_000)]  # 64 KiB each
    groups = pq.ParquetFile(_written(tmp_path / "t.parquet", table, rows)).metadata
    assert groups.num_rows == 3_000
    assert groups.num_row_groups == 3

"""Parquet, Arrow and frames: types survive, row groups stream, nothing is imported that was not passed."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bulkrate.errors import SourceError
from bulkrate.toolkit.rows import arrow
from bulkrate.toolkit.rows.snapshot import decoded, encoded
from bulkrate.toolkit.sources import open_source

_BERLIN = ZoneInfo("Europe/Berlin")
_UUID = UUID("12345678-1234-5678-1234-567812345678")
#: One column per type: its cells, and how they look as cells of ours where that differs.
TYPES = [
    (pa.int8(), [1, None], None),
    (pa.uint64(), [2**64 - 1, 0], None),
    (pa.float16(), [1.5, None], None),
    (pa.float64(), [0.1, -0.0], None),
    (pa.bool_(), [True, None], None),
    (pa.string(), ["", "ü"], None),
    (pa.large_string(), ["a", None], None),
    (pa.string_view(), ["a", None], None),
    (pa.binary(), [b"\x00", None], None),
    (pa.binary(2), [b"ab", None], None),
    (pa.decimal128(10, 2), [Decimal("1.50"), None], None),
    (pa.decimal256(60, 1), [Decimal("1.5"), None], None),
    (pa.date32(), [date(2026, 1, 31), None], None),
    (pa.time32("s"), [time(1, 2, 3), None], None),
    (pa.time64("us"), [time(1, 2, 3, 4), None], None),
    (pa.timestamp("s"), [datetime(2026, 1, 1), None], None),  # noqa: DTZ001
    (pa.timestamp("us", "Europe/Berlin"), [datetime(2026, 1, 1, tzinfo=_BERLIN), None], None),
    (pa.timestamp("ms", "UTC"), [datetime(2026, 1, 1, tzinfo=ZoneInfo("UTC")), None], None),
    (pa.timestamp("ns"), [datetime(2026, 1, 1), None], None),  # noqa: DTZ001
    (pa.timestamp("ns"), [1_767_225_600_123_456_789, None], ["2026-01-01T00:00:00.123456789", None]),
    (pa.timestamp("ns", "UTC"), [1_767_225_600_123_456_789], ["2026-01-01T00:00:00.123456789Z"]),
    (pa.time64("ns"), [1, None], ["00:00:00.000000001", None]),
    (pa.duration("us"), [timedelta(days=-1, microseconds=1), None], None),
    (pa.duration("ns"), [1_001, None], ["1001", None]),
    (pa.dictionary(pa.int8(), pa.string()), ["a", "a", None], None),
    (pa.dictionary(pa.int8(), pa.decimal128(3, 1)), [Decimal("1.5"), None, Decimal("1.5")], None),
    (pa.list_(pa.int32()), [[1, None], None, []], None),
    (pa.list_(pa.float32(), 2), [[1.5, 2.5], None], None),
    (pa.list_(pa.timestamp("ns")), [[datetime(2026, 1, 1)]], None),  # noqa: DTZ001
    (pa.struct([("a", pa.int8()), ("b", pa.list_(pa.string()))]), [{"a": 1, "b": ["x"]}, None], None),
    (pa.map_(pa.string(), pa.int32()), [[("k", 1)], None], [[["k", 1]], None]),
    (
        pa.struct([("m", pa.map_(pa.string(), pa.timestamp("ns")))]),
        [{"m": [("k", datetime(2026, 1, 1))]}],  # noqa: DTZ001
        [{"m": [["k", datetime(2026, 1, 1)]]}],  # noqa: DTZ001
    ),
    (pa.uuid(), [_UUID, None], None),
    (pa.null(), [None, None], None),
]


def _array(values, kind):
    if not pa.types.is_dictionary(kind):
        return pa.array(values, type=kind)
    found = pa.array(values, type=kind.value_type).dictionary_encode()
    return pa.DictionaryArray.from_arrays(found.indices.cast(kind.index_type), found.dictionary)


@pytest.mark.parametrize(("kind", "values", "cells"), TYPES, ids=[str(kind) for kind, _, _ in TYPES])
def test_every_type_becomes_cells_and_comes_back_as_it_was(kind, values, cells):
    array = _array(values, kind)
    batch = pa.record_batch([array], names=["c"])
    rows = arrow.rows_of(batch, "t")
    assert [row["c"] for row in rows] == (values if cells is None else cells)
    kept = [decoded(encoded(row, 1))["c"] for row in rows]  # on their way they lie with the job
    assert arrow.array_of(kept, kind).equals(array)


def test_cells_with_and_without_nanoseconds_share_a_column():
    whole, fine = datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00.123456789Z"
    back = arrow.array_of([whole, fine, None], pa.timestamp("ns", "UTC"))
    assert back.cast(pa.int64()).to_pylist() == [1_767_225_600_000_000_000, 1_767_225_600_123_456_789, None]
    spans = arrow.array_of([timedelta(microseconds=1), "1001", None], pa.duration("ns"))
    assert spans.cast(pa.int64()).to_pylist() == [1000, 1001, None]


@pytest.mark.parametrize("rows", [0, 1, 2_500])
def test_a_parquet_file_gives_its_rows_in_order_and_knows_how_many(tmp_path, rows):
    table = pa.table(
        {
            "id": pa.array(range(rows), pa.int32()),
            "text": pa.array([f"t{n}" for n in range(rows)], pa.string()),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=700)
    source = open_source(tmp_path / "t.parquet")
    assert source.length == rows
    assert [(column.name, column.kind) for column in source.columns] == [("id", "integer"), ("text", "text")]
    assert arrow.schema_of(source.arrow).equals(table.schema)
    assert list(source.rows()) == table.to_pylist() == list(source.rows())


@pytest.mark.parametrize("make", [pa.ipc.new_file, pa.ipc.new_stream])
def test_an_arrow_file_is_read_whether_file_or_stream(tmp_path, make):
    table = pa.table({"id": range(2_500)})
    with make(str(tmp_path / "t.arrow"), table.schema) as writer:
        writer.write_table(table, max_chunksize=1_700)
    assert [row["id"] for row in open_source(tmp_path / "t.arrow").rows()] == list(range(2_500))


def test_files_of_types_that_widen_are_one_table(tmp_path):
    pq.write_table(pa.table({"n": pa.array([1], pa.int32())}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"n": pa.array([2**40], pa.int64())}), tmp_path / "b.parquet")
    source = open_source(tmp_path)
    assert source.length == 2
    assert arrow.schema_of(source.arrow).field("n").type == pa.int64()
    pq.write_table(pa.table({"n": ["x"]}), tmp_path / "c.parquet")
    with pytest.raises(SourceError, match=r"c\.parquet: column 'n' holds text, in .*a\.parquet integer"):
        open_source(tmp_path)


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow", "t.feather"])
def test_what_is_no_table_is_named(tmp_path, name):
    for content in (b"", b"id,text\n1,a\n", b"PAR1 ARROW1"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SourceError, match=f"{name} cannot be read as what its name says it is"):
            open_source(tmp_path / name)


def test_names_and_types_that_no_row_can_have_are_refused(tmp_path):
    twice = pa.table([[1], [2]], names=["a", "a"])
    with pytest.raises(SourceError, match="two columns are named 'a'"):
        open_source(twice)
    odd = pa.table({"i": pa.array([pa.MonthDayNano([1, 2, 3])])})
    with pytest.raises(SourceError, match="column 'i' has the type month_day_nano_interval"):
        open_source(odd)


def test_a_year_that_python_does_not_know_is_named_with_its_column():
    table = pa.table({"at": pa.array([10**12 * 4], pa.timestamp("s"))})
    with pytest.raises(SourceError, match="Table, rows 1 to 1, column 'at': a timestamp"):
        list(open_source(table).rows())


def test_arrow_tables_and_readers_are_sources():
    table = pa.table({"n": range(3)})
    rows = [{"n": 0}, {"n": 1}, {"n": 2}]
    assert list(open_source(table).rows()) == rows
    assert list(open_source(table.to_batches()[0]).rows()) == rows
    reader = open_source(table.to_reader())
    assert list(reader.rows()) == rows
    with pytest.raises(SourceError, match="can be had only once"):
        list(reader.rows())


def test_a_pandas_frame_loses_its_index_and_nothing_else():
    frame = pd.DataFrame(
        {
            "n": [1, 2],
            "x": [1.5, float("nan")],
            "t": ["a", None],
            "at": pd.to_datetime(["2026-01-01T00:00:00.123456", None]),
            "c": pd.Categorical(["u", None]),
            "tags": [["a"], None],
        },
        index=[7, 7],
    )
    source = open_source(frame)
    assert source.length == 2
    assert list(source.rows()) == [
        {"n": 1, "x": 1.5, "t": "a", "at": datetime(2026, 1, 1, 0, 0, 0, 123456), "c": "u", "tags": ["a"]},  # noqa: DTZ001
        {"n": 2, "x": None, "t": None, "at": None, "c": None, "tags": None},
    ]


def test_a_pandas_column_of_mixed_cells_is_taken_cell_by_cell():
    frame = pd.DataFrame({"m": [1, "a", None, [1], pd.Timestamp("2026-01-01")], "n": range(5)})
    assert [row["m"] for row in open_source(frame).rows()] == [1, "a", None, [1], datetime(2026, 1, 1)]  # noqa: DTZ001
    with pytest.raises(SourceError, match="DataFrame, row 2, column 'm': a value of type object"):
        list(open_source(pd.DataFrame({"m": [1, object()]})).rows())


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (pd.DataFrame({0: [1]}), "a column is named 0, which is no text"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns have the same name"),
        (pd.Series([1]), "a Series of pandas is no table"),
        (pl.Series([1]), "a Series of polars is no table"),
        (7, "a int is no table"),
        ({"a": 1}, "a dict is no table"),
    ],
)
def test_what_is_no_table_says_what_would_be(frame, says):
    with pytest.raises(SourceError, match=says):
        open_source(frame)


@pytest.mark.parametrize("lazy", [False, True])
def test_a_polars_frame_keeps_its_types(lazy):
    frame = pl.DataFrame({"n": range(2_500), "d": [date(2026, 1, 1)] * 2_500, "s": [{"a": [1]}] * 2_500})
    source = open_source(frame.lazy() if lazy else frame)
    assert source.name == ("LazyFrame" if lazy else "DataFrame")
    rows = list(source.rows())
    assert rows == frame.to_dicts()
    assert arrow.schema_of(source.arrow).field("d").type == pa.date32()


def test_arrow_does_not_bring_pandas_along(tmp_path):
    pq.write_table(
        pa.table({"at": pa.array([1_767_225_600_123_456_789], pa.timestamp("ns", "UTC"))}),
        tmp_path / "t.parquet",
    )
    program = (
        "import sys; from bulkrate.toolkit.sources import open_source;"
        f"list(open_source({str(tmp_path / 't.parquet')!r}).rows());"
        "print('pandas' in sys.modules, 'polars' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert run.stdout == "False False\n"

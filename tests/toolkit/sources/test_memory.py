"""Memory does not grow with the table: many times the rows take about as much, in each format."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.toolkit.databases import DuckdbPlace, PostgresqlPlace, SqlitePlace

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process's peak"),
]

_SIZES = (20_000, 200_000)
#: Parquet is held by the row group, which both sizes must fill.
_PARQUET_SIZES = (120_000, 360_000)
_TEXT = "x" * 400
#: What the larger may take beyond the smaller: half of the texts that it has more. Arrow's own threads alone
#: take between nothing and 32 MB, from run to run.
_MORE_BYTES = 36 << 20

_PROGRAM = """
import re, sys
from pathlib import Path
from bulkrate.toolkit.sources import open_source
from bulkrate.toolkit.sinks import open_sink
from bulkrate.toolkit.rows.table import Column, Table
what, table, out = sys.argv[1], sys.argv[2] or None, sys.argv[3]
source, rows = open_source(what, table=table), 0
if out:
    sink = open_sink(out, table="t" if "://" in out else None)
    sink.open(Table(columns=(Column(name="id"), Column(name="text"))))
group = []
for row in source.rows():
    rows += 1
    group.append(row)
    if len(group) == 1000:
        if out:
            sink.write(group)
        group = []
if out:
    sink.commit()
# Not getrusage: its peak is inherited from the process that started this one.
print(rows, re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def _peak(what: object, table: str = "", out: object = "") -> tuple[int, int]:
    """How many rows there were, and the most memory that reading (and writing) them took."""
    run = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(what), table, str(out)],
        capture_output=True,
        check=True,
        text=True,
    )
    rows, peak_kb = map(int, run.stdout.split())
    return rows, peak_kb * 1024


def _grown(read: Callable[[int], tuple[int, int]], sizes: tuple[int, int] = _SIZES) -> int:
    """How many bytes more the larger table takes."""
    few, less = read(sizes[0])
    many, more = read(sizes[1])
    assert (few, many) == sizes
    return more - less


def _csv(path: Path, rows: int) -> None:
    with path.open("w") as file:
        file.write("id,text\n")
        file.writelines(f"{n},{_TEXT}\n" for n in range(rows))


def _jsonl(path: Path, rows: int) -> None:
    with path.open("w") as file:
        file.writelines(f'{{"id": {n}, "text": "{_TEXT}"}}\n' for n in range(rows))


def _json(path: Path, rows: int) -> None:
    path.write_text(json.dumps([{"id": n, "text": _TEXT} for n in range(rows)]))


def _parquet(path: Path, rows: int) -> None:
    texts = [f"{n}{_TEXT}" for n in range(rows)]  # all different, and all in one row group
    pq.write_table(
        pa.table({"id": range(rows), "text": texts}), path, use_dictionary=False, row_group_size=rows
    )


@pytest.mark.parametrize("make", [_csv, _jsonl, _json, _parquet])
def test_reading_a_file(tmp_path, make):
    def read(rows: int) -> tuple[int, int]:
        path = tmp_path / f"{rows}.{make.__name__[1:]}"
        make(path, rows)
        return _peak(path)

    assert _grown(read, _PARQUET_SIZES if make is _parquet else _SIZES) < _MORE_BYTES


@pytest.mark.parametrize(
    "out", ["t.csv", "t.jsonl", "t.parquet", "t.arrow", "sqlite", "duckdb", "postgresql"]
)
def test_writing(tmp_path, request, out):
    def write(rows: int) -> tuple[int, int]:
        path = tmp_path / f"{rows}.csv"
        _csv(path, rows)
        address = str(tmp_path / out)
        if out == "postgresql":
            address = request.getfixturevalue("postgres").address
        elif "." not in out:
            address = f"{out}:///{tmp_path}/{rows}.db"
        return _peak(path, out=address)

    # DuckDB keeps what it writes in buffers, up to a share of the machine's memory that it chooses itself.
    sizes = _PARQUET_SIZES if out == "t.parquet" else _SIZES
    assert _grown(write, sizes) < (256 << 20 if out == "duckdb" else _MORE_BYTES)


def test_reading_a_database(place):
    def read(rows: int) -> tuple[int, int]:
        name = f"t{rows}"
        numbers = {
            SqlitePlace: f"WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {rows}) "
            "SELECT n AS id, '{}' || n AS text FROM s",
            DuckdbPlace: f"SELECT range AS id, '{{}}' || range AS text FROM range({rows})",
            PostgresqlPlace: f"SELECT n AS id, '{{}}' || n AS text FROM generate_series(1, {rows}) AS n",
        }[type(place)]
        place.ask(f"CREATE TABLE {name} AS {numbers.format(_TEXT)}")
        return _peak(place.address, table=name)

    assert _grown(read) < (256 << 20 if isinstance(place, DuckdbPlace) else _MORE_BYTES)

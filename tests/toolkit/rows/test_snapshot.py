"""Rows kept with a job: exact, durable up to the commit, and never in memory."""

from __future__ import annotations

import os
import stat
import tracemalloc
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.errors import SourceError, StoreError
from bulkrate.toolkit.rows.snapshot import RowLog, Spool, decoded, encoded
from tests.toolkit.cellular import ROWS


@given(row=ROWS)
def test_every_cell_comes_back_as_it_was(row):
    back = decoded(encoded(row, 1))
    assert back == row
    assert repr(back) == repr(row)  # 1 is not True, and Decimal("1.0") is not Decimal("1.00")


@given(
    groups=st.lists(st.lists(ROWS, max_size=4), max_size=5),
    cut=st.integers(0, 20),
)
def test_a_log_cut_at_the_commit_holds_what_was_committed(tmp_path_factory, groups, cut):
    path = tmp_path_factory.mktemp("log") / "rows"
    rows = [row for group in groups for row in group]
    with RowLog(path) as log:
        for group in groups:
            log.append(group)
        assert log.commit() == (len(rows), path.stat().st_size)
    cut = min(cut, len(rows))
    with RowLog(path, rows=cut) as log:
        assert len(log) == cut
        assert list(log.rows()) == rows[:cut]
        log.append([{"new": 1}])
        assert list(log.rows(cut)) == [{"new": 1}]
        assert [log.get(n) for n in range(cut)] == rows[:cut]


def test_which_of_two_equal_readings_of_the_clock_is_meant_is_kept():
    autumn = datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin"))
    back = decoded(encoded({"at": autumn}, 1))["at"]
    assert back.utcoffset() == timedelta(hours=1)
    assert back.tzinfo.key == "Europe/Berlin"


def test_what_was_half_written_is_cut_off(tmp_path):
    path = tmp_path / "rows"
    with RowLog(path) as log:
        log.append([{"n": n} for n in range(10)])
    whole = path.stat().st_size
    os.truncate(path, whole - 1)
    with RowLog(path) as log:
        assert [row["n"] for row in log.rows()] == list(range(9))
    assert (tmp_path / "rows.index").stat().st_size == 9 * 12


def test_a_log_that_lost_committed_rows_is_refused(tmp_path):
    with RowLog(tmp_path / "rows") as log:
        log.append([{"n": 1}])
    with pytest.raises(StoreError, match="fewer than the 2 rows"):
        RowLog(tmp_path / "rows", rows=2)
    os.truncate(tmp_path / "rows", 0)
    with pytest.raises(StoreError, match="shorter than its index"):
        RowLog(tmp_path / "rows", rows=1, writable=False).get(0)
    (tmp_path / "rows").write_bytes(bytes(100))
    with pytest.raises(StoreError, match="is damaged"):
        RowLog(tmp_path / "rows", rows=1, writable=False).get(0)


def test_a_reader_changes_nothing_while_another_appends(tmp_path):
    with RowLog(tmp_path / "rows") as log:
        log.append([{"n": 1}])
        with RowLog(tmp_path / "rows", writable=False) as reader:
            log.append([{"n": 2}])
            assert list(reader.rows()) == [{"n": 1}]
        assert len(log) == 2


def test_only_its_owner_may_read_it(tmp_path):
    RowLog(tmp_path / "rows").close()
    for name in ("rows", "rows.index"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"a": 1, "b": object()}, "row 1, column 'b': a object"),
        ({"a": "\ud800"}, "row 1, column 'a': half of a surrogate pair"),
        ({"a": [[object()]]}, "row 1, column 'a': a list that"),
        ({7: 1}, "row 1 has a column named by a int"),
    ],
)
def test_what_is_no_cell_is_named_and_nothing_is_kept(tmp_path, row, says):
    with RowLog(tmp_path / "rows") as log:
        with pytest.raises(SourceError, match=says):
            log.append([{"fine": 1}, row][1:])
        assert len(log) == 0


def test_a_row_that_is_not_there_is_an_index_error(tmp_path):
    with RowLog(tmp_path / "rows") as log:
        log.append([{}])
        assert log.get(0) == {}
        for number in (-1, 1):
            with pytest.raises(IndexError):
                log.get(number)


def _peak(path: Path, count: int) -> int:
    """Bytes of memory that `count` rows of about 200 bytes take at most, written and read."""
    tracemalloc.start()
    with RowLog(path) as log:
        for start in range(0, count, 500):
            log.append([{"id": n, "text": "x" * 200} for n in range(start, start + 500)])
        assert sum(1 for _ in log.rows()) == count
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_rows(tmp_path):
    assert _peak(tmp_path / "many", 50_000) < 1.2 * _peak(tmp_path / "some", 10_000) < 10 << 20


def test_a_large_row_among_small_ones_is_read_whole(tmp_path):
    rows = [{"text": "x" * size} for size in (10, 5 << 20, 10, 1 << 20, 0)]
    with RowLog(tmp_path / "rows") as log:
        log.append(rows)
        assert list(log.rows()) == rows


@given(rows=st.lists(ROWS, max_size=12), size=st.integers(1, 5))
def test_a_spool_gives_its_rows_back_in_groups(rows, size):
    spool = Spool()
    spool.append(rows)
    for _ in range(2):
        groups = list(spool.groups(size))
        assert [row for group in groups for row in group] == rows
        assert all(len(group) == size for group in groups[:-1])
    spool.close()

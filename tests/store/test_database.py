"""The database: made at first use, of one version, shared by threads and processes without a refusal."""

from __future__ import annotations

import hashlib
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from bulkrate.errors import StoreError
from bulkrate.store import Store
from bulkrate.store.schema import SCHEMA_VERSION, metadata
from tests.store.records import NOW, a_batch, a_file, a_worker


def test_records_are_there_when_the_store_is_opened_again(tmp_path):
    first = Store(tmp_path / "bulkrate.db")
    first.batches.create(a_batch())
    first.close()
    second = Store(tmp_path / "bulkrate.db")
    assert second.batches.by_id("batch_1") is not None
    second.close()


def test_a_store_of_another_version_is_refused_not_guessed_at(tmp_path):
    Store(tmp_path / "bulkrate.db").close()
    with sqlite3.connect(tmp_path / "bulkrate.db") as connection:
        connection.execute("UPDATE about SET schema_version = 99")
    connection.close()
    with pytest.raises(StoreError, match=r"another bulkrate.*99"):
        Store(tmp_path / "bulkrate.db")


def test_tables_that_changed_shape_have_a_new_version():
    """A folder of another shape was opened all the same, and every request then failed."""
    shape = [
        f"{table}.{column.name} {column.type}" for table in metadata.sorted_tables for column in table.columns
    ]
    digest = hashlib.sha256("\n".join(sorted(shape)).encode()).hexdigest()[:16]
    assert (SCHEMA_VERSION, digest) == (6, "eeb92ae12ef54d82"), (
        "raise SCHEMA_VERSION, and put the new digest here"
    )


def test_a_file_that_is_no_database_is_a_store_error(tmp_path):
    (tmp_path / "bulkrate.db").write_bytes(b"something else entirely" * 100)
    with pytest.raises(StoreError, match="not a database"):
        Store(tmp_path / "bulkrate.db")


def test_a_folder_that_is_not_there_is_a_store_error(tmp_path):
    with pytest.raises(StoreError):
        Store(tmp_path / "nowhere" / "bulkrate.db")


@pytest.mark.parametrize("folder", ["what?", "50%", "a#b", "a&b=c", "with space", "ünï"])
def test_a_data_folder_may_have_any_name(tmp_path, folder):
    # Behind a "?" the path was once lost, and two servers shared a database beside their folders.
    (tmp_path / folder).mkdir()
    Store(tmp_path / folder / "bulkrate.db").close()
    assert (tmp_path / folder / "bulkrate.db").is_file()
    assert [path.name for path in tmp_path.iterdir()] == [folder]


@pytest.mark.parametrize(
    ("statement", "check"),
    [
        ("UPDATE batches SET status = 'done'", "a_status_is_one_of_eight"),
        ("UPDATE batches SET completed = 1", "no_line_counts_twice"),
        ("UPDATE batches SET total = 5, completed = 3, failed = 3", "no_line_counts_twice"),
        ("UPDATE files SET stream = 'output'", "a_file_has_one_place"),
        ("UPDATE files SET blob = NULL", "a_file_has_one_place"),
    ],
)
def test_an_update_by_hand_cannot_break_what_always_holds(store, tmp_path, statement, check):
    store.batches.create(a_batch())
    store.files.add(a_file())
    connection = sqlite3.connect(tmp_path / "bulkrate.db")
    with pytest.raises(sqlite3.IntegrityError, match=check):
        connection.execute(statement)
    connection.close()


def test_a_commit_that_is_reported_survives_a_power_cut(store):
    with store._database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def test_a_failed_transaction_leaves_nothing_and_gives_its_connection_back(store):
    for _ in range(40):  # more than there are connections
        with pytest.raises(StoreError):
            store.files.add(a_file(blob=None))
    assert store.files.place("default", "file-1") is None
    store.files.add(a_file())


def test_an_error_of_the_database_says_nothing_of_what_was_to_be_stored(store):
    store.batches.create(a_batch(metadata=b'{"prompt":"my secret"}'))
    with pytest.raises(StoreError) as refused:
        store.batches.create(a_batch(metadata=b'{"prompt":"my secret"}'))
    assert "secret" not in str(refused.value)


def test_threads_write_at_once_and_none_is_refused(store):
    def write(number: int) -> int:
        return store.files.add(a_file(str(number))).seq

    with ThreadPoolExecutor(12) as threads:
        seqs = list(threads.map(write, range(60)))
    assert len(set(seqs)) == 60


@pytest.mark.parametrize("number", range(10))
def test_a_store_may_be_opened_for_the_first_time_by_many_at_once(tmp_path, number):
    """One of them used to be told now and then that the database was locked, without having waited."""

    def open_it(_: int) -> bool:
        Store(tmp_path / "bulkrate.db").close()
        return True

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(open_it, range(16)))


WRITER = """
import sys
from pathlib import Path
from bulkrate.store import Store
from tests.store.records import a_worker

store = Store(Path(sys.argv[1]))
print(*[a_worker(store) for _ in range(25)])
store.close()
"""


def test_processes_write_at_once_and_no_epoch_is_given_twice(store, tmp_path):
    command = [sys.executable, "-c", WRITER, str(tmp_path / "bulkrate.db")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    epochs = [a_worker(store, now=NOW) for _ in range(25)]
    for process in processes:
        told, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        epochs += map(int, told.split())
    assert len(set(epochs)) == 75

"""Which rows were answered already, so that tomorrow's run sends only those that are new or have changed.

A row is known by its key columns, an answer by what was asked for it: endpoint, model and body. Keys, prompts
and answers are never kept: of a key and of what was asked a digest, of the answer the place where it is.
SQLite without SQLAlchemy: one table, filled and read ten million rows at a time, shared with nobody.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from bulkrate.errors import SourceError, StoreError
from bulkrate.toolkit.rows.table import Row

# 16 bytes: among ten million rows two meet by chance once in 10^24 tables.
_DIGEST_BYTES = 16
# A commit of ten million rows by another run takes most of a minute.
_BUSY_TIMEOUT_S = 120
_SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS names (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS answers (
    scope INTEGER NOT NULL, key BLOB NOT NULL, hash BLOB NOT NULL,
    job INTEGER NOT NULL, row_number INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) WITHOUT ROWID;
"""


class Place(NamedTuple):
    """Where an answer is."""

    job_id: str
    row_number: int


class Lineage:
    """A file that remembers, per scope and row key, what was asked and where the answer is.

    A scope is a name under which keys mean the same rows: a job's name, or the fingerprint of what is asked.
    Used by one thread at a time; several processes may have the file open. Raises `StoreError` when it cannot
    be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._translated():
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode=WAL")
            # FULL: what was remembered survives a power cut, or its rows would be paid for again.
            self._connection.execute("PRAGMA synchronous=FULL")
            # Staged rows belong on the disk, wherever SQLite was told to keep such things.
            self._connection.execute("PRAGMA temp_store=FILE")
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            if version not in {0, _SCHEMA_VERSION}:
                raise StoreError(
                    f"{path} was written by another bulkrate (schema {version}, here {_SCHEMA_VERSION}); use "
                    "that version, or remove the file: then every row is sent once more"
                )
            self._connection.executescript(_SCHEMA)
            self._connection.execute(f"PRAGMA user_version={_SCHEMA_VERSION}")

    def known(self, scope: str, rows: Iterable[tuple[str, bytes]]) -> Iterator[Place | None]:
        """For each (key, hash), in their order: where its answer is; None if it is new or has changed."""
        number = self._number(scope)
        for key, asked in rows:
            with self._translated():
                found = self._connection.execute(
                    "SELECT name, row_number FROM answers JOIN names ON names.id = job"
                    " WHERE scope = ? AND key = ? AND hash = ?",
                    (number, _digest(key), asked),
                ).fetchone()
            yield Place(*found) if found else None

    def remember(self, scope: str, job_id: str, rows: Iterable[tuple[str, bytes, int]]) -> None:
        """Note that `job_id` answered these (key, hash, row number): all of them, durably, or none.

        A key that was answered before has this answer from now on.
        """
        with self._transaction():
            # Staged, then put in by key: an insert in random order would touch every page many times.
            self._connection.execute("CREATE TEMP TABLE staged (key BLOB, hash BLOB, row_number INTEGER)")
            self._connection.executemany(
                "INSERT INTO staged VALUES (?, ?, ?)",
                ((_digest(key), asked, row_number) for key, asked, row_number in rows),
            )
            scope_number = self._number(scope, create=True)
            job_number = self._number(job_id, create=True)
            self._connection.execute(
                "INSERT INTO answers SELECT ?, key, hash, ?, row_number FROM staged WHERE true"
                " ORDER BY key, rowid ON CONFLICT (scope, key) DO UPDATE"
                " SET hash = excluded.hash, job = excluded.job, row_number = excluded.row_number",
                (scope_number, job_number),
            )
            self._connection.execute("DROP TABLE staged")

    def forget(self, job_id: str) -> None:
        """Let go of the answers of a job, whose results are no longer kept: their rows are new again."""
        with self._transaction():
            self._connection.execute("DELETE FROM answers WHERE job = ?", (self._number(job_id),))

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _number(self, name: str, *, create: bool = False) -> int | None:
        """Scopes and jobs by number: each of their names stands in the file once."""
        with self._translated():
            if create:
                self._connection.execute(
                    "INSERT INTO names (name) VALUES (?) ON CONFLICT DO NOTHING", (name,)
                )
            found = self._connection.execute("SELECT id FROM names WHERE name = ?", (name,)).fetchone()
        return found[0] if found else None

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._translated():
            # Deferred: the file is locked when it is written to, not while the rows come in.
            self._connection.execute("BEGIN")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as cause:
            raise StoreError(f"{self._path}: {cause}") from cause


def content_hash(endpoint: str, model: str, body: bytes) -> bytes:
    """What was asked, as 16 bytes: everything that changes the answer.

    Where several rows share a request, `body` is the one that the row would have alone.
    """
    state = blake2b(digest_size=_DIGEST_BYTES)
    for part in (endpoint.encode(), model.encode(), body):
        state.update(b"%d:" % len(part))
        state.update(part)
    return state.digest()


def key_of(row: Row, columns: Sequence[str]) -> str:
    """The cells of the key columns as one text: two rows have the same text only if cells and types agree.

    Raises `SourceError` for a column that is not there, and for a cell that cannot tell rows apart: an empty
    one, a list, a NaN.
    """
    return "".join(_part(row, column) for column in columns)


def distinct(keys: Iterable[str], columns: Sequence[str]) -> Iterator[str]:
    """Pass the keys on; at the end raise `SourceError` if two rows had the same, naming both, counted from 1.

    So nothing is to be sent before the last key was taken. Digests go to a temporary file, not into memory.
    """
    seen = sqlite3.connect("", isolation_level=None)
    try:
        seen.execute("PRAGMA journal_mode=OFF")
        seen.execute("BEGIN")
        seen.execute("CREATE TABLE seen (row_number INTEGER PRIMARY KEY, key BLOB)")
        for key in keys:
            seen.execute("INSERT INTO seen (key) VALUES (?)", (_digest(key),))
            yield key
        # Sorting once costs a third less than keeping them in order, and says as much.
        seen.execute("CREATE INDEX by_key ON seen (key)")
        twins = seen.execute(
            "SELECT min(row_number), count(*), key FROM seen GROUP BY key HAVING count(*) > 1"
            " ORDER BY 1 LIMIT 1"
        ).fetchone()
        if twins:
            first, times, digest = twins
            (second,) = seen.execute(
                "SELECT min(row_number) FROM seen WHERE key = ? AND row_number > ?", (digest, first)
            ).fetchone()
            raise SourceError(
                f"rows {first} and {second} have the same {_names(columns)}"
                + (f" (as {times - 2} more have)" if times > 2 else "")
                + "; name columns that tell every row apart"
            )
    except sqlite3.Error as cause:
        raise StoreError(f"keys could not be kept in a temporary file: {cause}") from cause
    finally:
        seen.close()


def _part(row: Row, column: str) -> str:
    # Tag, length, text: no cell runs into the next. What is also something else comes before it: True is an
    # int, a datetime is a date.
    match row.get(column):
        case None if column not in row:
            raise SourceError(f"there is no key column {column!r}; there are {_names(list(row))}")
        case None:
            raise SourceError(f"key column {column!r} is empty in a row; a key needs a value in every row")
        case bool(cell):
            tag, text = "b", str(cell)
        case int(cell):
            tag, text = "i", f"{cell:x}"
        case float(cell) if math.isfinite(cell):
            tag, text = "f", (cell + 0.0).hex()  # -0.0 is 0.0
        case str(cell):
            tag, text = "t", cell
        case bytes(cell):
            tag, text = "x", cell.hex()
        case datetime() as cell:
            tag, text = "s", cell.isoformat()
        case date() as cell:
            tag, text = "y", cell.isoformat()
        case time() as cell:
            tag, text = "h", cell.isoformat()
        case Decimal() as cell if cell.is_finite():
            tag, text = "d", str(cell)
        case cell:
            raise SourceError(
                f"key column {column!r} holds a {type(cell).__name__} that cannot tell rows apart; "
                "use columns of text, numbers or dates"
            )
    return f"{tag}{len(text)}:{text}"


def _digest(key: str) -> bytes:
    # surrogatepass: a lone surrogate is no text, but JSON can carry one.
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).digest()


def _names(columns: Sequence[str]) -> str:
    return ", ".join(repr(column) for column in columns)

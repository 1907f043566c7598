"""The connection to the database, and the two kinds of transaction.

SQLAlchemy is spoken only in this package. Foreign exceptions end here.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, Select, UpdateBase, create_engine, event, insert, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from bulkrate.errors import Contradiction, StoreError, StoreFull
from bulkrate.store.records import Record
from bulkrate.store.schema import SCHEMA_VERSION, about, metadata

R = TypeVar("R", bound=Record)

# A writer waits this long for another's commit. Commits take milliseconds; only a stuck process makes one
# wait longer.
BUSY_TIMEOUT_S = 10
# How soon to look again whether another has made a fresh database ready.
_LOOK_S = 0.01


class Database:
    """A database, created on first use. Safe to use from several threads and processes."""

    def __init__(self, path: Path) -> None:
        self._engine = _connect_sqlite(path)
        # SQLite's own way of waiting is to sleep and look again, longer each time. With a thousand batches on
        # their way a third of the time went into that, so the writers of one process queue here instead.
        self._turn = threading.Lock()
        with self.write() as connection:
            metadata.create_all(connection)
            version = connection.execute(select(about.c.schema_version)).scalar()
            if version is None:
                connection.execute(insert(about).values(schema_version=SCHEMA_VERSION))
            elif version != SCHEMA_VERSION:
                raise StoreError(
                    f"{path} was written by another bulkrate (schema {version}, here {SCHEMA_VERSION}); "
                    "use that version, or another data folder"
                )

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view; never waits for a writer."""
        with self._transaction(write=False) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that changes something: all of it is durable at the end, or nothing happened."""
        if not self._turn.acquire(timeout=BUSY_TIMEOUT_S):
            raise StoreError(f"the store failed: no turn to write came within {BUSY_TIMEOUT_S} s")
        try:
            with self._transaction(write=True) as connection:
                yield connection
        finally:
            self._turn.release()

    def first(self, record: type[R], query: Select[Any]) -> R | None:
        """The first row that a query finds, as a record; None when it finds none."""
        with self.read() as connection:
            row = connection.execute(query).mappings().first()
        return record.of(row) if row else None

    def all(self, record: type[R], query: Select[Any]) -> list[R]:
        """Every row that a query finds, as records."""
        with self.read() as connection:
            return [record.of(row) for row in connection.execute(query).mappings()]

    def column(self, query: Select[Any]) -> list[Any]:
        """The first column of every row that a query finds."""
        with self.read() as connection:
            return list(connection.execute(query).scalars())

    def value(self, query: Select[Any]) -> Any:
        """The first column of the first row that a query finds; None when it finds none."""
        with self.read() as connection:
            return connection.execute(query).scalar()

    def change(self, statement: UpdateBase) -> int:
        """A transaction of one statement; how many rows it changed."""
        with self.write() as connection:
            return connection.execute(statement).rowcount

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self, *, write: bool) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection:
                # SQLite: a transaction that will write takes the lock at once, or two readers that both
                # turn into writers would refuse each other.
                connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
                yield connection
                connection.commit()
        except IntegrityError as cause:
            # Without the cause: that has parameters of the statement in it.
            raise Contradiction(f"the store failed: {_plain(cause)}") from None
        except SQLAlchemyError as cause:
            kind = StoreFull if _code(cause) == sqlite3.SQLITE_FULL else StoreError
            raise kind(f"the store failed: {_plain(cause)}") from cause


def _connect_sqlite(path: Path) -> Engine:
    engine = create_engine(
        # Not as text: a "?" in the path would begin parameters, and the rest of it be lost.
        URL.create("sqlite", database=str(path)),
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_S},
        pool_size=16,
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        cursor = connection.cursor()
        _log_ahead(cursor)
        # FULL: a commit that we reported survives a power cut. Costs one fsync, and commits are grouped.
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.close()

    return engine


def _log_ahead(cursor: sqlite3.Cursor) -> None:
    """Put the database into write-ahead mode, if it is not.

    Of those that open a fresh one at once, each may hold what the other needs for that; SQLite then refuses
    one of them at once, whatever its time-out. The second time there is nothing left to change.
    """
    until = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as refused:
            if refused.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_LOOK_S)
        else:
            return


def _code(cause: SQLAlchemyError) -> int | None:
    return getattr(getattr(cause, "orig", None), "sqlite_errorcode", None)


def _plain(cause: SQLAlchemyError) -> str:
    """The database's own words, without the statement and its parameters."""
    return str(getattr(cause, "orig", None) or cause).splitlines()[0]

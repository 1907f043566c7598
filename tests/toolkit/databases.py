"""The same table in each database, as a place to write to and to read from."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import duckdb
import psycopg


class Place(Protocol):
    """A database of the test's own."""

    address: str

    def ask(self, statement: str) -> list[Any]:
        """Run a statement; the rows it gives."""


class SqlitePlace:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "t.db"
        self.address = f"sqlite:///{self.path}"

    def ask(self, statement: str) -> list[Any]:
        with closing(sqlite3.connect(self.path)) as connection:
            found = connection.execute(statement).fetchall()
            connection.commit()
            return found


class DuckdbPlace:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "t.duckdb"
        self.address = f"duckdb:///{self.path}"

    def ask(self, statement: str) -> list[Any]:
        with duckdb.connect(str(self.path)) as connection:
            return connection.execute(statement).fetchall()


class PostgresqlPlace:
    def __init__(self, address: str) -> None:
        self.address = address

    def ask(self, statement: str) -> list[Any]:
        with psycopg.connect(self.address, autocommit=True) as connection:
            done = connection.execute(statement)
            return done.fetchall() if done.description else []

"""Rows gathered into groups: one row for each, with the group's columns and its rows.

The rows wait in a temporary SQLite file, so that memory holds one group and not the source. Groups come in
the order in which the source first names them, and the rows of each in the source's own.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from bulkrate.errors import SourceError
from bulkrate.toolkit import json_text
from bulkrate.toolkit.questions.prompts import lacks
from bulkrate.toolkit.recipes.report import ROWS
from bulkrate.toolkit.rows.table import Column, Row
from bulkrate.toolkit.sources.base import Source

# A model's context is a few megabytes at most; a group beyond this is a mistake in `group_by`.
GROUP_BYTES_MAX = 64 << 20
_ROWS_AT_ONCE = 1_000

_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -16000;
CREATE TABLE groups (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE);
CREATE TABLE members (id INTEGER PRIMARY KEY, "group" INTEGER NOT NULL, row BLOB NOT NULL);
"""


class Groups:
    """A source of groups over a source of rows.

    Its rows have the columns `by` and `rows`, a list of objects as JSON has them (a date is its text).
    `folder` is where the temporary file lies; it is removed when the rows were read, or are not wanted.
    """

    arrow = None
    length = None

    def __init__(self, source: Source, by: Sequence[str], *, folder: Path | None = None) -> None:
        self.name = source.name
        self.columns = (*(Column(name=name) for name in by), Column(name=ROWS, kind="json"))
        self._source = source
        self._by = tuple(by)
        self._folder = folder

    def mark(self) -> str | None:
        return self._source.mark()

    def rows(self) -> Iterator[Row]:
        """One row a group. Raises `SourceError` for a group too large, `RecipeError` for a missing column."""
        with tempfile.TemporaryDirectory(prefix="bulkrate-groups-", dir=self._folder) as folder:
            try:
                with closing(sqlite3.connect(Path(folder) / "groups.db")) as file:
                    file.executescript(_TABLES)
                    self._gather(file)
                    yield from self._groups(file)
            except sqlite3.Error as error:
                raise SourceError(f"{self.name} cannot be grouped in {folder}: {error}") from error

    def _gather(self, file: sqlite3.Connection) -> None:
        pending: list[tuple[int, bytes]] = []
        for row in self._source.rows():
            for name in self._by:
                if name not in row:
                    raise lacks("group_by", name, row)
            key = json_text.encode([row[name] for name in self._by])
            pending.append((_group(file, key), json_text.encode(row)))
            if len(pending) == _ROWS_AT_ONCE:
                _keep(file, pending)
                pending = []
        _keep(file, pending)
        file.execute('CREATE INDEX by_group ON members ("group", id)')

    def _groups(self, file: sqlite3.Connection) -> Iterator[Row]:
        members = file.cursor()
        for group, key in file.execute("SELECT id, key FROM groups ORDER BY id"):
            named = dict(zip(self._by, json_text.decode(key), strict=True))
            rows: list[Row] = []
            size = 0
            for (data,) in members.execute('SELECT row FROM members WHERE "group" = ? ORDER BY id', (group,)):
                size += len(data)
                if size > GROUP_BYTES_MAX:
                    raise SourceError(
                        f"{self.name}: a group has more than {GROUP_BYTES_MAX >> 20} MB of rows "
                        f"({len(rows):,} so far); group by more columns, or leave large columns out"
                    )
                rows.append(json_text.decode(data))
            yield {**named, ROWS: rows}


def _group(file: sqlite3.Connection, key: bytes) -> int:
    """The number of the group with this key; a new one if it is the first time."""
    found = file.execute("SELECT id FROM groups WHERE key = ?", (key,)).fetchone()
    if found is None:
        found = file.execute("INSERT INTO groups (key) VALUES (?) RETURNING id", (key,)).fetchone()
    return int(found[0])


def _keep(file: sqlite3.Connection, rows: Sequence[tuple[int, bytes]]) -> None:
    file.executemany('INSERT INTO members ("group", row) VALUES (?, ?)', rows)

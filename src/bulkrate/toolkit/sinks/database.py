"""A table of a database: rows wait until all are there, then one transaction puts them in.

What SQLite, DuckDB and PostgreSQL say alike is said here; each module adds how it connects, what its types
are called, and how rows get in fastest. Before anything was paid for, the same is done without rows, and
taken back: whoever may not write, or has a table that does not fit, hears it then.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Self, TypeAlias, get_args

from bulkrate.errors import SinkError
from bulkrate.toolkit.databases import Database, column_quoted, database, quoted
from bulkrate.toolkit.rows.table import Row
from bulkrate.toolkit.sinks.spooled import Spooled

#: `replace`: the table is what was written, nothing else. `append`: rows are added. `upsert`, which needs
#: keys: rows with the same keys are overwritten, column by column; others are added.
Mode: TypeAlias = Literal["replace", "append", "upsert"]


class TableSink(Spooled):
    """One table. Columns that it lacks are added to it; columns that it has besides are left alone."""

    #: Whether column names that differ in capitals only are the same.
    folds_names = True

    def __init__(self, place: Database, mode: Mode | None) -> None:
        super().__init__(f"{place.name}#{place.table}")
        self.place = place
        self.target = place.table or ""
        self._asked_mode = mode

    @classmethod
    def at(cls, address: str, *, mode: str | None = None) -> Self:
        """The sink at an address. Raises `SinkError`."""
        place = database(address, None, SinkError)
        if place.table is None:
            raise SinkError(f"{place.name}: into which table? name one, or write {place.name}#table")
        for known in get_args(Mode):
            if mode in {known, None}:
                return cls(place, None if mode is None else known)
        raise SinkError(f"{place.name}: mode {mode!r} is not known; there are {', '.join(get_args(Mode))}")

    @property
    def mode(self) -> Mode:
        """What becomes of the rows that are there."""
        return self._asked_mode or ("upsert" if self.table.keys else "replace")

    def begin(self) -> set[str]:
        """Do all of it without rows, and take it back."""
        missing = [key for key in self.table.keys if key not in self.layout.names]
        if missing or (self.mode == "upsert" and not self.table.keys):
            wanted = f"there is no key column {missing[0]!r}" if missing else "upsert needs key columns"
            raise SinkError(f"{self.name}: {wanted}; there are {', '.join(self.layout.names)}")
        return self.rehearse()

    def put(self, groups: Iterator[list[Row]]) -> None:
        """Put all rows in, in one transaction."""
        with self.transaction(keep=True) as connection:
            self.transfer(connection, groups)

    def forget(self) -> None:
        """Nothing is held between `begin` and `put`."""

    @abstractmethod
    def rehearse(self) -> set[str]:
        """Transfer no rows and take it back; the columns whose types are known. Raises `SinkError`."""

    @abstractmethod
    def transaction(self, *, keep: bool) -> AbstractContextManager[Any]:
        """A connection in a transaction that is kept at the end, or not. Raises `SinkError`."""

    @abstractmethod
    def run(self, connection: Any, statement: str) -> list[Any]:
        """Run a statement; the rows it gives, if any."""

    @abstractmethod
    def existing(self, connection: Any) -> dict[str, str]:
        """The types of the columns of the table that is there, by name; none if it is not."""

    @abstractmethod
    def types(self) -> dict[str, str]:
        """What the database calls the types of our columns, now that all cells were seen."""

    @abstractmethod
    def fill(self, connection: Any, table: str, groups: Iterator[list[Row]]) -> None:
        """Put rows into an empty table of exactly our columns."""

    def staging(self) -> str:
        """The name, as SQL has it, of the table where rows are gathered that are merged."""
        return column_quoted("bulkrate_rows")

    def transfer(self, connection: Any, groups: Iterator[list[Row]]) -> None:
        """Rows into the table, by whatever mode. Raises `SinkError`, or what the database raises."""
        existing, types = self.existing(connection), self.types()
        if self.mode == "replace" or not existing:
            schema, _, name = self.target.rpartition(".")
            fresh = f"{schema}.{name}_bulkrate" if schema else f"{name}_bulkrate"
            self.run(connection, f"DROP TABLE IF EXISTS {quoted(fresh)}")
            self._create(connection, quoted(fresh), types, "")
            self.fill(connection, quoted(fresh), groups)
            self._check_keys(connection, quoted(fresh))
            self.run(connection, f"DROP TABLE IF EXISTS {quoted(self.target)}")
            self.run(connection, f"ALTER TABLE {quoted(fresh)} RENAME TO {column_quoted(name)}")
            return
        self._create(connection, self.staging(), types, "TEMPORARY")
        self.fill(connection, self.staging(), groups)
        self._merge(connection, existing, types)
        self.run(connection, f"DROP TABLE {self.staging()}")

    def cast(self, cell: str, kind: str) -> str:
        """The SQL that turns a cell into the type of a column that is there."""
        return f"CAST({cell} AS {kind})" if kind else cell

    def _create(self, connection: Any, table: str, types: dict[str, str], sort: str) -> None:
        columns = ", ".join(f"{column_quoted(name)} {kind}" for name, kind in types.items())
        self.run(connection, f"CREATE {sort} TABLE {table} ({columns})")

    def _merge(self, connection: Any, existing: dict[str, str], types: dict[str, str]) -> None:
        there = {self._folded(name): (name, kind) for name, kind in existing.items()}
        cells = {}  # of each column there: the cell that goes into it
        for name, kind in types.items():
            if self._folded(name) not in there:
                self.run(
                    connection, f"ALTER TABLE {quoted(self.target)} ADD COLUMN {column_quoted(name)} {kind}"
                )
                there[self._folded(name)] = (name, kind)
            column, wanted = there[self._folded(name)]
            cells[column_quoted(column)] = self.cast(f"s.{column_quoted(name)}", wanted)
        into, given = ", ".join(cells), ", ".join(cells.values())
        insert = f"INSERT INTO {quoted(self.target)} ({into}) SELECT {given} FROM {self.staging()} AS s"  # noqa: S608
        if self.mode == "append":
            self.run(connection, insert)
            return
        self._check_keys(connection, self.staging())
        # SQLite joins by going through all rows for each, unless there is an index; the others do not mind.
        ours = ", ".join(map(column_quoted, self.table.keys))
        self.run(connection, f"CREATE INDEX {column_quoted('bulkrate_keys')} ON {self.staging()} ({ours})")
        keys = [column_quoted(there[self._folded(key)][0]) for key in self.table.keys]
        same = " AND ".join(f"t.{key} = {cells[key]}" for key in keys)
        others = ", ".join(f"{column} = {cell}" for column, cell in cells.items() if column not in keys)
        if others:
            self.run(
                connection,
                f"UPDATE {quoted(self.target)} AS t SET {others} FROM {self.staging()} AS s WHERE {same}",  # noqa: S608
            )
        missing = f"LEFT JOIN {quoted(self.target)} AS t ON {same} WHERE t.{keys[0]} IS NULL"
        self.run(connection, f"{insert} {missing}")

    def _check_keys(self, connection: Any, table: str) -> None:
        """Each row must be told apart by its keys, where they are what tells it apart."""
        if self.mode == "append" or not self.table.keys:
            return
        keys = [column_quoted(key) for key in self.table.keys]
        unique = ", ".join(keys)
        empty = " OR ".join(f"{key} IS NULL" for key in keys)
        checks = {
            f"SELECT count(*) FROM {table} WHERE {empty}": "rows have an empty key",  # noqa: S608
            f"SELECT count(*) FROM (SELECT 1 FROM {table} GROUP BY {unique} HAVING count(*) > 1) AS twice":  # noqa: S608
            "keys stand on more than one row",
        }
        for query, fault in checks.items():
            ((count,),) = self.run(connection, query)
            if count:
                raise SinkError(
                    f"{self.name}: {count} {fault}; the key columns {unique} must tell rows apart"
                )

    def _folded(self, name: str) -> str:
        return name.casefold() if self.folds_names else name


def records(groups: Iterator[list[Row]], names: Sequence[str]) -> Iterator[list[Any]]:
    """The cells of all rows, in the order of the columns."""
    for group in groups:
        for row in group:
            yield [row[name] for name in names]

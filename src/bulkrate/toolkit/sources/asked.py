"""What is asked of a database: a query as it stands, or all of a table; and the names of what comes back."""

from __future__ import annotations

from collections.abc import Sequence

from bulkrate.errors import SourceError
from bulkrate.toolkit.databases import Database, quoted


def asked(database: Database, query: str | None) -> str:
    """The query to send. Raises `SourceError` unless there is either a query or a table."""
    if query is not None and database.table is not None:
        raise SourceError(
            f"{database.name}: both a query and the table {database.table!r} are named; name one"
        )
    if query is not None:
        return query.strip().rstrip(";")
    if database.table is None:
        raise SourceError(f"{database.name}: which rows? give a query, or a table (or write …#table)")
    return f"SELECT * FROM {quoted(database.table)}"  # noqa: S608 (the name is quoted)


def columns_named(names: Sequence[str], where: str) -> list[str]:
    """The names of a query's columns. Raises `SourceError` for none, or two of one name."""
    if not names:
        raise SourceError(f"{where}: the query gives no columns; it must be a SELECT")
    for number, name in enumerate(names):
        if name in names[:number]:
            raise SourceError(f"{where}: two columns are named {name!r}; give each a name of its own (AS …)")
    return list(names)

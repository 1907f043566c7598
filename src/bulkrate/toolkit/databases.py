"""Addresses of databases: `sqlite:///path`, `duckdb:///path`, `postgresql://…`, and the tables they name.

As SQLAlchemy has them: three slashes and a path from here, four and a path from the root. Connects nowhere.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, cast
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import msgspec

from bulkrate.errors import BulkrateError
from bulkrate.toolkit.addresses import public

Kind: TypeAlias = Literal["sqlite", "duckdb", "postgresql"]
_SCHEMES: dict[str, Kind] = {
    "sqlite": "sqlite",
    "duckdb": "duckdb",
    "postgresql": "postgresql",
    "postgres": "postgresql",
}


class Database(msgspec.Struct, frozen=True, kw_only=True):
    """Where a database is: `place` is a path, or what PostgreSQL takes as a connection string."""

    kind: Kind
    #: Without password, for people.
    name: str
    place: str
    table: str | None


def is_database(address: str) -> bool:
    """Whether it is the address of one."""
    return "://" in address and address.partition("://")[0] in _SCHEMES


def database(address: str, table: str | None, error: type[BulkrateError]) -> Database:
    """The database at an address, and the table that either the address or `table` names. Raises `error`."""
    parts = urlsplit(address)
    name, kind = public(address), _SCHEMES[parts.scheme]
    found = [value for value in (unquote(parts.fragment), table) if value]
    others = []
    for option, value in parse_qsl(parts.query, keep_blank_values=True):
        if option == "table":
            found.append(value)
        else:
            others.append((option, value))
    if len(found) > 1:
        raise error(f"{name}: a table is named twice, {found[0]!r} and {found[1]!r}; name it once")
    if kind == "postgresql":
        place = urlunsplit(("postgresql", parts.netloc, parts.path, urlencode(others), ""))
    elif parts.netloc or others or not parts.path.strip("/"):
        raise error(
            f"{name}: write {kind}:///file.db for a file here, {kind}:////folder/file.db from the root"
        )
    else:
        place = unquote(parts.path[1:])
    return Database(kind=kind, name=name, place=place, table=found[0] if found else None)


def quoted(name: str) -> str:
    """A name in SQL; a dot parts a schema from a table."""
    return ".".join(column_quoted(part) for part in name.split("."))


def column_quoted(name: str) -> str:
    """A column's name in SQL, dots and all."""
    return '"' + name.replace('"', '""') + '"'


def said(fault: Exception) -> str:
    """What a database said, without what may quote the rows: only the first line, and nothing of data."""
    state = cast("str | None", getattr(fault, "sqlstate", None))
    if state is not None and state[:2] in {"22", "23"}:  # SQLSTATE: data, and rules about it
        return f"{type(fault).__name__} ({state})"
    first = (str(fault).strip() or type(fault).__name__).splitlines()[0]
    return first[:300]

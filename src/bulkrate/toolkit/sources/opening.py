"""From what a person names to a source of rows. Each kind's module is imported when it is asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from bulkrate.errors import SourceError
from bulkrate.toolkit import extras
from bulkrate.toolkit.addresses import File, Standard, extension, files
from bulkrate.toolkit.databases import Database, database, is_database
from bulkrate.toolkit.rows.table import Column, Row
from bulkrate.toolkit.sources.base import Source
from bulkrate.wording import either

#: The formats of files by the end of their names.
FORMATS = ("csv", "tsv", "jsonl", "ndjson", "json", "parquet", "arrow", "feather")


def open_source(
    what: Any,
    *,
    query: str | None = None,
    table: str | None = None,
    limit: int | None = None,
    format: str | None = None,  # noqa: A002 (the field's own name)
) -> Source:
    """The rows that `what` names or is.

    A text or path names a file, a folder or pattern of files, `s3://…`, `gs://…`, a database
    (`sqlite:///path`, `duckdb:///path`, `postgresql://…`, with a `query` or a `table`), or `-`, standard
    input. Everything else is rows already: an iterable of objects or texts, a frame of pandas or Polars, an
    Arrow table or reader. `format` (one of `FORMATS`) says what a file holds whose name does not; `limit`
    takes only the first rows. Raises `SourceError`.
    """
    if format is not None and format not in FORMATS:
        raise SourceError(f"format {format!r} is not known; there are {', '.join(FORMATS)}")
    if limit is not None and limit < 1:
        raise SourceError(f"a limit of {limit} rows leaves none; give 1 or more")
    if isinstance(what, str | Path):
        source = _named(what, query=query, table=table, format_=format)
    else:
        _no_query(type(what).__name__, query, table)
        source = _given(what)
    return source if limit is None else Limited(source, limit)


class Limited:
    """The first rows of another source."""

    def __init__(self, source: Source, limit: int) -> None:
        self._source = source
        self._limit = limit
        self.name = source.name
        self.length = None if source.length is None else min(source.length, limit)

    @property
    def columns(self) -> tuple[Column, ...] | None:
        """Those of the source."""
        return self._source.columns

    @property
    def arrow(self) -> bytes | None:
        """That of the source."""
        return self._source.arrow

    def mark(self) -> str | None:
        """That of the source, and how many rows are taken."""
        mark = self._source.mark()
        return None if mark is None else f"{mark} first {self._limit}"

    def rows(self) -> Iterator[Row]:
        """The first rows. Raises `SourceError`."""
        return islice(self._source.rows(), self._limit)


def _named(what: str | Path, *, query: str | None, table: str | None, format_: str | None) -> Source:
    text = str(what)
    if text == "-":
        _no_query("standard input", query, table)
        return _standard(sys.stdin.buffer, format_)
    if is_database(text):
        return _queried(database(text, table, SourceError), query)
    _no_query(text, query, table)
    found = files(what)
    parts = [_file(file, format_ or extension(file.path)) for file in found]
    if len(parts) == 1:
        return parts[0]
    from bulkrate.toolkit.sources.chain import Chain  # noqa: PLC0415

    return Chain(text, found, parts)


def _queried(place: Database, query: str | None) -> Source:
    from bulkrate.toolkit.sources.asked import asked  # noqa: PLC0415

    query = asked(place, query)
    if place.kind == "sqlite":
        from bulkrate.toolkit.sources.sqlite import Sqlite  # noqa: PLC0415

        return Sqlite(place, query)
    if place.kind == "postgresql":
        from bulkrate.toolkit.sources.postgresql import Postgresql  # noqa: PLC0415

        return Postgresql(place, query)
    extras.load("pyarrow", "tables", f"reading {place.name}", SourceError)
    from bulkrate.toolkit.sources.duckdb import Duckdb  # noqa: PLC0415

    return Duckdb(place, query)


def _no_query(what: str, query: str | None, table: str | None) -> None:
    if query is not None or table is not None:
        asked = "query" if query is not None else "table"
        raise SourceError(f"a {asked} was given, but {what} is no database")


def _standard(stream: BinaryIO, format_: str | None) -> Source:
    file = Standard(stream)
    if format_ is None:
        first = file.head().read().removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
        format_ = {b"{": "jsonl", b"[": "json"}.get(first, "csv")
    return _file(file, format_)


def _file(file: File | Standard, format_: str) -> Source:
    if (reader := _READERS.get(format_)) is None:
        known, or_say = ", ".join(f".{name}" for name in FORMATS), either("; or say it with --format", "")
        raise SourceError(f"{file.name}: what does it hold? its name should end in one of {known}{or_say}")
    return reader(file)


def _csv(file: File | Standard) -> Source:
    from bulkrate.toolkit.sources.delimited import Delimited  # noqa: PLC0415

    return Delimited(file)


def _tsv(file: File | Standard) -> Source:
    from bulkrate.toolkit.sources.delimited import Delimited  # noqa: PLC0415

    return Delimited(file, "\t")


def _lines(file: File | Standard) -> Source:
    from bulkrate.toolkit.sources.objects import Lines  # noqa: PLC0415

    return Lines(file)


def _array(file: File | Standard) -> Source:
    from bulkrate.toolkit.sources.objects import Array  # noqa: PLC0415

    return Array(file)


def _parquet(file: File | Standard) -> Source:
    extras.load("pyarrow", "tables", f"reading {file.name}", SourceError)
    from bulkrate.toolkit.sources.tables import Parquet  # noqa: PLC0415

    return Parquet(file)


def _ipc(file: File | Standard) -> Source:
    extras.load("pyarrow", "tables", f"reading {file.name}", SourceError)
    from bulkrate.toolkit.sources.tables import Ipc  # noqa: PLC0415

    return Ipc(file)


_READERS: dict[str, Callable[[File | Standard], Source]] = {
    "csv": _csv,
    "tsv": _tsv,
    "jsonl": _lines,
    "ndjson": _lines,
    "json": _array,
    "parquet": _parquet,
    "arrow": _ipc,
    "feather": _ipc,
}


def _given(what: Any) -> Source:
    library = type(what).__module__.partition(".")[0]
    if library in {"pandas", "polars", "pyarrow"}:
        extras.load("pyarrow", "tables", f"reading a {library} table", SourceError)
        from bulkrate.toolkit.sources.frames import framed  # noqa: PLC0415

        return framed(what, library)
    from bulkrate.toolkit.sources.values import Once, Values  # noqa: PLC0415

    if isinstance(what, Mapping) or not isinstance(what, Iterable):
        raise SourceError(
            f"a {type(what).__name__} is no table; give a path, a list of rows or texts, or a frame"
        )
    return Once(what) if isinstance(what, Iterator) else Values(what)

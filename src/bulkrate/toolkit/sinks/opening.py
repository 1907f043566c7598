"""From what a person names to a sink. Each kind's module is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from bulkrate.errors import SinkError
from bulkrate.toolkit import extras
from bulkrate.toolkit.addresses import PACKED, extension, public, remote
from bulkrate.toolkit.sinks.base import Sink
from bulkrate.toolkit.sinks.files import Output, output, target_of
from bulkrate.wording import either

#: The formats of files by the end of their names.
FORMATS = ("csv", "tsv", "jsonl", "ndjson", "json", "parquet", "arrow", "feather")

#: Databases and stores by the scheme of their addresses: the module, and the class whose
#: `at(address, **options)` makes the sink.
SCHEMES: dict[str, tuple[str, str]] = {
    "sqlite": ("bulkrate.toolkit.sinks.sqlite", "SqliteSink"),
    "duckdb": ("bulkrate.toolkit.sinks.duckdb", "DuckdbSink"),
    "postgresql": ("bulkrate.toolkit.sinks.postgresql", "PostgresqlSink"),
    "postgres": ("bulkrate.toolkit.sinks.postgresql", "PostgresqlSink"),
    "postgresql+pgvector": ("bulkrate.toolkit.sinks.pgvector", "PgvectorSink"),
    "lancedb": ("bulkrate.toolkit.sinks.lancedb", "LanceDBSink"),
    "qdrant": ("bulkrate.toolkit.sinks.qdrant", "QdrantSink"),
    "qdrant+https": ("bulkrate.toolkit.sinks.qdrant", "QdrantSink"),
    "chroma": ("bulkrate.toolkit.sinks.chroma", "ChromaSink"),
    "chroma+http": ("bulkrate.toolkit.sinks.chroma", "ChromaSink"),
    "chroma+https": ("bulkrate.toolkit.sinks.chroma", "ChromaSink"),
}
#: Paths that are databases by the end of their names.
_SUFFIXES = {".lancedb": "lancedb", ".lance": "lancedb"}


def open_sink(
    target: str | Path,
    *,
    table: str | None = None,
    format: str | None = None,  # noqa: A002 (the field's own name)
    **options: Any,
) -> Sink:
    """A sink for `target`: the path of a file, `s3://…`, `gs://…`, `-` (standard output), or a database.

    A database's `table` may also be the fragment of its address. `format` (one of `FORMATS`) says how a file
    is written whose name does not; `options` are the database's own (`mode`). Nothing is touched before
    `open`. Raises `SinkError`.
    """
    if format is not None and format not in FORMATS:
        raise SinkError(f"format {format!r} is not known; there are {', '.join(FORMATS)}")
    text = str(target)
    if store := _store(text):
        return _database(store, text if table is None else _with_table(text, table), options)
    if table is not None or options:
        asked = "table" if table is not None else next(iter(options))
        raise SinkError(f"{public(text)} is no database, and takes no {asked}")
    if "://" in text and not remote(text) and not text.startswith("file:///"):
        known = ", ".join(f"{scheme}://" for scheme in ("s3", "gs", *SCHEMES))
        raise SinkError(
            f"{public(text)}: nothing of that kind can be written to; there are paths, and {known}"
        )
    kind = format or ("jsonl" if text == "-" else extension(text))
    if (writer := _WRITERS.get(kind)) is None:
        known, or_say = ", ".join(f".{name}" for name in FORMATS), either("; or say it with --to-format", "")
        raise SinkError(
            f"{public(text)}: how is it to be written? its name should end in one of {known}{or_say}"
        )
    if kind in {"parquet", "arrow", "feather"} and text.rpartition(".")[2] in PACKED:
        raise SinkError(f"{public(text)}: a table is packed within; leave out the last part of the name")
    return writer(output(target))


def exists(target: str | Path) -> bool:
    """Whether a file is at `target` already. Of a database nobody asks: it says itself what becomes of rows.

    Raises `SinkError` if nobody can tell.
    """
    return _store(str(target)) is None and target_of(target).exists()


def is_table(target: str, format: str | None = None) -> bool:  # noqa: A002 (as in `open_sink`)
    """Whether rows go to `target` as rows, and not as documents into a folder of that name."""
    named = "://" in target or _store(target) is not None
    return format is not None or named or target == "-" or extension(target) in FORMATS


def _store(text: str) -> str | None:
    scheme = text.partition("://")[0] if "://" in text else _SUFFIXES.get(Path(text).suffix)
    return scheme if scheme in SCHEMES else None


def _with_table(address: str, table: str) -> str:
    if "#" in address:
        raise SinkError(f"{public(address)} names a table, and so does the option; name it once")
    return f"{address}#{table}"


def _database(scheme: str, address: str, options: dict[str, Any]) -> Sink:
    module, name = SCHEMES[scheme]
    if scheme == "duckdb":
        extras.load("pyarrow", "tables", f"writing {public(address)}", SinkError)
    try:
        return cast("Sink", getattr(import_module(module), name).at(address, **options))
    except TypeError as fault:
        raise SinkError(f"{public(address)}: {', '.join(options)}: no such option") from fault


def _lines(made: Output) -> Sink:
    from bulkrate.toolkit.sinks.text import JsonLines  # noqa: PLC0415

    return JsonLines(made)


def _array(made: Output) -> Sink:
    from bulkrate.toolkit.sinks.text import JsonArray  # noqa: PLC0415

    return JsonArray(made)


def _csv(made: Output) -> Sink:
    from bulkrate.toolkit.sinks.text import Delimited  # noqa: PLC0415

    return Delimited(made)


def _tsv(made: Output) -> Sink:
    from bulkrate.toolkit.sinks.text import Delimited  # noqa: PLC0415

    return Delimited(made, "\t")


def _parquet(made: Output) -> Sink:
    extras.load("pyarrow", "tables", f"writing {made.name}", SinkError)
    from bulkrate.toolkit.sinks.tables import Parquet  # noqa: PLC0415

    return Parquet(made)


def _ipc(made: Output) -> Sink:
    extras.load("pyarrow", "tables", f"writing {made.name}", SinkError)
    from bulkrate.toolkit.sinks.tables import Ipc  # noqa: PLC0415

    return Ipc(made)


_WRITERS: dict[str, Callable[[Output], Sink]] = {
    "csv": _csv,
    "tsv": _tsv,
    "jsonl": _lines,
    "ndjson": _lines,
    "json": _array,
    "parquet": _parquet,
    "arrow": _ipc,
    "feather": _ipc,
}

"""Rows into a collection of Chroma: a record each, its columns as metadata.

Chroma has no transaction over many records: they are seen group by group, and replaced when the rows are
written again. Only a collection that this sink made is ever removed. Nothing is reported to Chroma's makers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import msgspec

from bulkrate.errors import SinkError
from bulkrate.toolkit.rows.table import Row, Table
from bulkrate.toolkit.sinks.points import (
    Distance,
    Points,
    distance_of,
    first_line,
    json_value,
    need,
    options,
)

_PORT = 8000
# Chroma takes 5,461 records at once from a folder and fewer from some servers; a thousand vectors of a large
# model are already 12 MB.
_RECORDS_PER_REQUEST = 256
# Chroma's own rule for names: without it a bad one would be found only when the rows are there.
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{1,510}[a-zA-Z0-9]")
_RESERVED = "chroma:"


class ChromaSink:
    """`chroma://FOLDER#COLLECTION`, or a server: `chroma+http://HOST:PORT#COLLECTION`, `chroma+https://…`."""

    _points: Points  # since `open`

    def __init__(
        self, name: str, collection: str, connect: Callable[[Any, Any], Any], distance: Distance = "cosine"
    ) -> None:
        """`connect` gets the module `chromadb` and settings, and returns a client."""
        self.name = name
        self._collection_name = collection
        self._connect = connect
        self._distance = distance
        self._client: Any = None
        self._collection: Any = None
        #: Rows without a vector, which were not written.
        self.left_out = 0
        self._made = False

    @classmethod
    def at(cls, address: str, **given: Any) -> Self:
        """The sink at an address; the option `distance` may stand in it. Raises `SinkError`."""
        parts = urlsplit(address)
        place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        distance = distance_of(options(parts.query, given, ["distance"], place), place)
        collection = unquote(parts.fragment)
        if not _NAME.fullmatch(collection):
            raise SinkError(
                f"{place}: collection {collection!r}: Chroma wants 3 to 512 letters, digits, dots, - or _, "
                f"the first and last a letter or digit; say {place}#COLLECTION"
            )
        if parts.scheme == "chroma":
            folder = unquote(parts.netloc + parts.path)
            if not folder:
                raise SinkError(f"{place}: no folder is named; say chroma://FOLDER#COLLECTION")

            def connect(library: Any, settings: Any) -> Any:
                return library.PersistentClient(path=folder, settings=settings)

        else:
            host, port, tls = parts.hostname, parts.port or _PORT, parts.scheme == "chroma+https"
            if not host or "@" in parts.netloc:
                raise SinkError(f"{place}: say chroma+http://HOST:PORT#COLLECTION, without user and password")

            def connect(library: Any, settings: Any) -> Any:
                return library.HttpClient(host=host, port=port, ssl=tls, settings=settings)

        return cls(f"{place}#{collection}", collection, connect, distance)

    def open(self, table: Table) -> None:
        """Connect, and compare dimensions with a collection that is there."""
        self._points = Points(table, self.name)
        names = [column.name for column in self._points.payload]
        if unfit := [name for name in names if not name or name.startswith(_RESERVED)]:
            raise SinkError(f"{self.name}: Chroma takes no column named {unfit[0]!r}; rename it")
        library = need("chromadb", "chroma")
        settings = need("chromadb.config", "chroma").Settings(anonymized_telemetry=False)
        try:
            self._client = self._connect(library, settings)
            self._collection = self._find()
        except Exception as cause:
            raise self._failed("cannot be opened", cause) from cause
        if self._collection is not None:
            self._points.expect(self._collection.get_model().dimension)

    def write(self, rows: Sequence[Row]) -> None:
        """Put the records of these rows in, in place of those with the same keys."""
        points = self._points.take(rows)
        self.left_out = self._points.left_out
        names = [column.name for column in self._points.payload]
        try:
            if points and self._collection is None:
                self._collection = self._client.create_collection(
                    self._collection_name,
                    embedding_function=None,
                    configuration={"hnsw": {"space": self._distance}},
                )
                self._made = True
            for start in range(0, len(points), _RECORDS_PER_REQUEST):
                group = points[start : start + _RECORDS_PER_REQUEST]
                self._collection.upsert(
                    ids=[str(point.id) for point in group],
                    embeddings=[point.numbers.astype("f4") for point in group],
                    # An empty cell is sent too: it takes away what an earlier writing left there.
                    metadatas=[{name: _scalar(point.row[name]) for name in names} for point in group]
                    if names
                    else None,
                )
        except Exception as cause:
            raise self._failed("takes no rows", cause) from cause

    def commit(self) -> None:
        """Every group was acknowledged when it was written; close."""
        self._made = False
        self._close()

    def discard(self) -> None:
        """Remove the collection, if this sink made it; what was replaced in another stays replaced."""
        if self._made and self._client is not None:
            try:
                self._client.delete_collection(self._collection_name)
            except Exception as cause:
                raise self._failed("cannot be removed", cause) from cause
            self._made = False
        self._close()

    def _find(self) -> Any:
        missing = need("chromadb.errors", "chroma").NotFoundError
        try:
            return self._client.get_collection(self._collection_name, embedding_function=None)
        except missing:
            return None

    def _close(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = self._collection = None

    def _failed(self, what: str, cause: Exception) -> SinkError:
        return SinkError(f"{self.name} {what}: {first_line(cause)}")


def _scalar(cell: Any) -> bool | int | float | str | None:
    """Chroma's metadata are scalars: lists and objects become JSON text."""
    value = json_value(cell)
    return msgspec.json.encode(value).decode() if isinstance(value, list | dict) else value

"""Rows into a collection of Qdrant: a point each, its columns as payload.

Qdrant has no transaction over many points: they are seen group by group, and replaced when the rows are
written again. Only a collection that this sink made is ever removed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from bulkrate.errors import SinkError
from bulkrate.toolkit.rows.table import Row, Table
from bulkrate.toolkit.sinks.points import Distance, Points, distance_of, first_line, json_value, need, options

_PORT = 6333
_TIMEOUT_S = 60
# Qdrant refuses bodies of more than 32 MB, and a number takes up to some 22 bytes of JSON.
_NUMBERS_PER_REQUEST = 500_000
_POINTS_PER_REQUEST = 256
_DISTANCES = {"cosine": "COSINE", "l2": "EUCLID", "ip": "DOT"}
# int8 is kept as float32: Qdrant's own bytes have no sign.
_DATATYPES = {"float32": "FLOAT32", "float16": "FLOAT16", "int8": "FLOAT32"}


class QdrantSink:
    """`qdrant://HOST:PORT/COLLECTION` (`qdrant+https://` with TLS), or `qdrant:///FOLDER#COLLECTION`.

    In a folder, where Qdrant runs inside this process, the collection is named like the folder unless told
    otherwise. A server's key is read from `QDRANT_API_KEY`.
    """

    _points: Points  # since `open`

    def __init__(
        self, name: str, collection: str, connect: Callable[[Any], Any], distance: Distance = "cosine"
    ) -> None:
        """`connect` gets the module `qdrant_client` and returns a client."""
        self.name = name
        self._collection = collection
        self._connect = connect
        self._distance = distance
        self._client: Any = None
        #: Rows without a vector, which were not written.
        self.left_out = 0
        self._there = False
        self._made = False

    @classmethod
    def at(cls, address: str, **given: Any) -> Self:
        """The sink at an address; the option `distance` may stand in it. Raises `SinkError`."""
        parts = urlsplit(address)
        place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        distance = distance_of(options(parts.query, given, ["distance"], place), place)
        if "@" in parts.netloc:
            raise SinkError(f"{place}: a key has no place in an address; set QDRANT_API_KEY")
        if parts.hostname is None:
            folder = Path(unquote(parts.path))
            collection = unquote(parts.fragment) or folder.name
            if not collection:
                raise SinkError(f"{place}: no folder is named; say qdrant:///FOLDER#COLLECTION")
            return cls(f"{place}#{collection}", collection, lambda library: _local(library, folder), distance)
        path = unquote(parts.path.strip("/"))
        collection = path or unquote(parts.fragment)
        if not collection or "/" in collection or (path and parts.fragment):
            raise SinkError(f"{place}: one collection is to be named; say qdrant://HOST:PORT/COLLECTION")
        url = f"{'https' if parts.scheme == 'qdrant+https' else 'http'}://{parts.netloc}"
        key = os.environ.get("QDRANT_API_KEY")

        def connect(library: Any) -> Any:
            return library.QdrantClient(
                url=url, port=parts.port or _PORT, api_key=key, timeout=_TIMEOUT_S, check_compatibility=False
            )

        return cls(place, collection, connect, distance)

    def open(self, table: Table) -> None:
        """Connect, and compare dimensions with a collection that is there."""
        self._points = Points(table, self.name)
        library = need("qdrant_client", "qdrant")
        try:
            self._client = self._connect(library)
            self._there = self._client.collection_exists(self._collection)
            vectors = (
                self._client.get_collection(self._collection).config.params.vectors if self._there else None
            )
        except Exception as cause:
            self._close()
            raise self._failed("cannot be opened", cause) from cause
        if self._there:
            if isinstance(vectors, dict) or vectors is None:
                raise SinkError(
                    f"{self.name}: its points have several or no vectors; use a collection with one unnamed"
                )
            self._points.expect(vectors.size)

    def write(self, rows: Sequence[Row]) -> None:
        """Put the points of these rows in, in place of those with the same keys."""
        points = self._points.take(rows)
        self.left_out = self._points.left_out
        if not points:
            return
        names = [column.name for column in self._points.payload]
        size = max(1, min(_POINTS_PER_REQUEST, _NUMBERS_PER_REQUEST // len(points[0].numbers)))
        models = need("qdrant_client.models", "qdrant")
        try:
            self._make(models, len(points[0].numbers))
            for start in range(0, len(points), size):
                group = points[start : start + size]
                self._client.upsert(
                    self._collection,
                    points=models.Batch(
                        ids=[point.id if isinstance(point.id, int) else str(point.id) for point in group],
                        vectors=[point.numbers.tolist() for point in group],
                        payloads=[{name: json_value(point.row[name]) for name in names} for point in group],
                    ),
                    wait=True,
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
                self._client.delete_collection(self._collection)
            except Exception as cause:
                raise self._failed("cannot be removed", cause) from cause
            self._made = False
        self._close()

    def _make(self, models: Any, dimensions: int) -> None:
        if self._there:
            return
        self._client.create_collection(
            self._collection,
            vectors_config=models.VectorParams(
                size=dimensions,
                distance=models.Distance[_DISTANCES[self._distance]],
                datatype=models.Datatype[_DATATYPES[self._points.column.dtype]],
            ),
        )
        self._there = self._made = True

    def _close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _failed(self, what: str, cause: Exception) -> SinkError:
        return SinkError(f"{self.name} {what}: {first_line(cause)}")


def _local(library: Any, folder: Path) -> Any:
    try:
        return library.QdrantClient(path=str(folder))
    except RuntimeError as cause:
        # Qdrant's words for a folder in use; it opens one for a single process at a time.
        raise SinkError(
            f"{folder} is in use by another process; run a Qdrant server, or wait for it"
        ) from cause

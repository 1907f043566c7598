"""Qdrant, inside this process; over HTTP, where the environment names a server."""

from __future__ import annotations

import gc
import json
import os
import socket
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from bulkrate.errors import SinkError
from bulkrate.toolkit.rows.table import VectorType
from bulkrate.toolkit.sinks.qdrant import QdrantSink
from tests.toolkit.sinks.vectors import EAST, EVERY_CELL, NORTH, UP, rows, table, vector

qdrant_client = pytest.importorskip("qdrant_client")

# "http://HOST:PORT": Qdrant's server is no Python package; without one, its twin inside this process is used.
SERVER = os.environ.get("BULKRATE_TEST_QDRANT")


class Reader:
    """A collection, as somebody else finds it."""

    def __init__(self, folder: Path, collection: str = "products") -> None:
        self.client = qdrant_client.QdrantClient(path=str(folder))
        self.collection = collection

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def nearest(self, to: list[float], count: int = 1) -> list[Any]:
        found = self.client.query_points(self.collection, query=to, limit=count).points
        return [point.payload["sku"] for point in found]

    def points(self) -> list[Any]:
        found, _ = self.client.scroll(self.collection, limit=100, with_vectors=True)
        return list(found)


def written(folder: Path, **asked: Any) -> QdrantSink:
    sink = QdrantSink.at(f"qdrant://{folder}#products")
    sink.open(table("sku", "stars", **asked))
    sink.write(rows(asked.get("dtype", "float32")))
    sink.commit()
    return sink


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_rows_are_found_by_what_they_are_near_to(tmp_path: Path, dtype: VectorType) -> None:
    sink = written(tmp_path, keys=["sku"], dtype=dtype)
    with Reader(tmp_path) as there:
        assert [there.nearest(to) for to in (EAST, NORTH, UP)] == [["east"], ["north"], ["up"]]
        # By angle: a long vector is no farther than a short one.
        (best,) = there.client.query_points("products", query=[x * 100 for x in EAST], limit=1).points
        assert best.score == pytest.approx(1, abs=1e-4)
        assert (len(there.points()), sink.left_out) == (3, 1)


def test_writing_again_replaces_points(tmp_path: Path) -> None:
    for stars, to in ((5, EAST), (None, UP)):
        sink = QdrantSink.at(f"qdrant://{tmp_path}#products")
        sink.open(table("sku", "stars", keys=["sku"]))
        sink.write([{"sku": "a", "stars": stars, "embedding": vector(to)}])
        sink.commit()
    with Reader(tmp_path) as there:
        (point,) = there.points()
        assert point.payload == {"sku": "a", "stars": None}
        assert there.client.query_points("products", query=UP).points[0].score == pytest.approx(1)


def test_without_keys_the_row_number_is_the_id(tmp_path: Path) -> None:
    written(tmp_path)
    with Reader(tmp_path) as there:
        assert [point.id for point in there.points()] == [0, 1, 3]


def test_the_payload_is_json(tmp_path: Path) -> None:
    sink = QdrantSink.at(f"qdrant://{tmp_path}#products")
    sink.open(table(*EVERY_CELL))
    sink.write([EVERY_CELL | {"embedding": vector(UP)}])
    sink.commit()
    with Reader(tmp_path) as there:
        (point,) = there.points()
        assert json.loads(json.dumps(point.payload, allow_nan=False)) == {
            "nothing": None,
            "truth": True,
            "whole": 2**40,
            "huge": str(2**70),
            "real": 1.5,
            "nan": None,
            "text": "ü\ufffd\ufffd",
            "bytes": "AP8=",
            "list": [1, "two", None],
            "object": {"a": {"b": [1]}},
            "day": "2026-11-21",
            "moment": "2026-11-21T12:30:00Z",
            "exact": "12.50",
        }


@pytest.mark.parametrize(("distance", "kept"), [("cosine", "Cosine"), ("l2", "Euclid"), ("ip", "Dot")])
def test_the_distance_is_chosen_when_the_collection_is_made(tmp_path: Path, distance: str, kept: str) -> None:
    sink = QdrantSink.at(f"qdrant://{tmp_path}?distance={distance}#products")
    sink.open(table("sku", "stars", dtype="float16"))
    sink.write(rows("float16"))
    sink.commit()
    with Reader(tmp_path) as there:
        vectors = there.client.get_collection("products").config.params.vectors
        assert (vectors.distance, vectors.size, vectors.datatype) == (kept, 4, "float16")


def test_a_collection_of_another_dimension_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    written(tmp_path)
    early = QdrantSink.at(f"qdrant://{tmp_path}#products")
    with pytest.raises(SinkError, match=r"vectors there have 4 numbers, column 'embedding' has 3"):
        early.open(table("sku", dimensions=3))
    early.discard()
    later = QdrantSink.at(f"qdrant://{tmp_path}#products")
    later.open(table("sku", dimensions=None))
    with pytest.raises(SinkError, match=r"vectors there have 4 numbers, column 'embedding' has 3"):
        later.write([{"sku": "a", "embedding": vector([1, 2, 3])}])
    later.discard()
    with Reader(tmp_path) as there:
        assert len(there.points()) == 3


def test_discard_removes_only_a_collection_that_was_made(tmp_path: Path) -> None:
    written(tmp_path)
    for name in ("products", "new"):
        sink = QdrantSink.at(f"qdrant://{tmp_path}#{name}")
        sink.open(table("sku", "stars"))
        sink.write(rows()[:1])
        sink.discard()
        sink.discard()
    with Reader(tmp_path) as there:
        assert [found.name for found in there.client.get_collections().collections] == ["products"]
        assert len(there.points()) == 3


def test_a_sink_used_again_does_not_discard_what_it_committed(tmp_path: Path) -> None:
    sink = written(tmp_path)
    sink.open(table("sku", "stars"))
    sink.discard()
    with Reader(tmp_path) as there:
        assert len(there.points()) == 3


def test_large_vectors_are_written_in_several_requests(tmp_path: Path) -> None:
    sink = QdrantSink.at(f"qdrant://{tmp_path}#products")
    sink.open(table("sku", dimensions=4096))
    # 122 vectors of 4,096 numbers fit in one request.
    sink.write([{"sku": str(n), "embedding": vector([n + 1.0] + [1.0] * 4095)} for n in range(150)])
    sink.commit()
    with Reader(tmp_path) as there:
        assert there.client.count("products").count == 150


# Qdrant leaves the lock that it did not get to the garbage collector, which is why that is called here.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <_io:pytest.PytestUnraisableExceptionWarning")
def test_a_folder_in_use_is_found_at_once(tmp_path: Path) -> None:
    first = QdrantSink.at(f"qdrant://{tmp_path}#products")
    first.open(table("sku"))
    with pytest.raises(SinkError, match="in use by another process"):
        QdrantSink.at(f"qdrant://{tmp_path}#products").open(table("sku"))
    first.discard()
    gc.collect()


def test_a_server_that_is_not_there_is_found_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    sink = QdrantSink.at(f"qdrant://127.0.0.1:{port}/products")
    with pytest.raises(SinkError, match=f"qdrant://127.0.0.1:{port}/products cannot be opened: .*refused"):
        sink.open(table("sku"))
    sink.discard()


@pytest.mark.skipif(SERVER is None, reason="BULKRATE_TEST_QDRANT names no Qdrant server")
def test_a_server_is_written_to_as_a_folder_is() -> None:
    collection = f"bulkrate-{uuid4().hex}"
    for _ in range(2):
        sink = QdrantSink.at(f"qdrant://{str(SERVER).partition('://')[2]}/{collection}")
        sink.open(table("sku", "stars", keys=["sku"]))
        sink.write(rows())
        sink.commit()
    client = qdrant_client.QdrantClient(SERVER)
    try:
        assert client.count(collection).count == 3
        (best,) = client.query_points(collection, query=UP, limit=1).points
        assert best.payload == {"sku": "up", "stars": 2}
    finally:
        client.delete_collection(collection)
        client.close()


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("qdrant://localhost:6333", "one collection is to be named"),
        ("qdrant://localhost:6333/a/b", "one collection is to be named"),
        ("qdrant://localhost:6333/a#b", "one collection is to be named"),
        ("qdrant://", "no folder is named"),
        ("qdrant://secret@localhost/products", "set QDRANT_API_KEY"),
        ("qdrant://localhost/products?distance=far", "no distance 'far'"),
        ("qdrant://localhost/products?index=hnsw", "no option 'index'"),
    ],
)
def test_an_address_that_is_not_whole_is_refused(address: str, says: str) -> None:
    with pytest.raises(SinkError, match=says) as refused:
        QdrantSink.at(address)
    assert "secret" not in str(refused.value)

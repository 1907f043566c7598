"""Chroma, in a folder and behind its own server."""

from __future__ import annotations

import gc
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bulkrate.errors import SinkError
from bulkrate.toolkit.rows.table import VectorType
from bulkrate.toolkit.sinks.chroma import ChromaSink
from tests.support.processes import wait_until
from tests.toolkit.sinks.vectors import EAST, EVERY_CELL, NORTH, UP, rows, table, vector

pytestmark = [
    # Chroma warns of what it does itself.
    pytest.mark.filterwarnings("ignore:legacy embedding function config:DeprecationWarning"),
]
chromadb = pytest.importorskip("chromadb")


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Chroma's server."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("chroma-server")
    command = [Path(sys.executable).with_name("chroma"), "run", "--path", folder, "--host", "127.0.0.1"]
    with subprocess.Popen(
        [*command, "--port", str(port)],
        cwd=folder,
        env=os.environ | {"ANONYMIZED_TELEMETRY": "False"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as server:
        try:
            wait_until(lambda: _listens(port), bool)
            yield port
        finally:
            server.kill()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


def collection(folder: Path, name: str = "products") -> Any:
    settings = chromadb.config.Settings(anonymized_telemetry=False)
    return chromadb.PersistentClient(path=str(folder), settings=settings).get_collection(
        name, embedding_function=None
    )


def nearest(there: Any, to: list[float], count: int = 1) -> list[Any]:
    return [found["sku"] for found in there.query(query_embeddings=[to], n_results=count)["metadatas"][0]]


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_rows_are_found_by_what_they_are_near_to(tmp_path: Path, dtype: VectorType) -> None:
    sink = ChromaSink.at(f"chroma://{tmp_path}#products")
    sink.open(table("sku", "stars", keys=["sku"], dtype=dtype))
    sink.write(rows(dtype))
    sink.commit()
    there = collection(tmp_path)
    assert [nearest(there, to) for to in (EAST, NORTH, UP)] == [["east"], ["north"], ["up"]]
    # By angle: a long vector is no farther than a short one.
    assert there.query(query_embeddings=[[x * 100 for x in EAST]], n_results=1)["distances"][0][0] < 1e-4
    assert (there.count(), sink.left_out) == (3, 1)


def test_writing_again_replaces_records_and_empties_their_cells(tmp_path: Path) -> None:
    for stars, to in ((5, EAST), (None, UP)):
        sink = ChromaSink.at(f"chroma://{tmp_path}#products")
        sink.open(table("sku", "stars", keys=["sku"]))
        sink.write([{"sku": "a", "stars": stars, "embedding": vector(to)}])
        sink.commit()
    found = collection(tmp_path).get(include=["metadatas", "embeddings"])
    assert (found["metadatas"], found["embeddings"].tolist()) == ([{"sku": "a"}], [UP])


def test_without_keys_the_row_number_is_the_id(tmp_path: Path) -> None:
    sink = ChromaSink.at(f"chroma://{tmp_path}#products")
    sink.open(table("sku", "stars"))
    sink.write(rows()[:3])
    sink.write(rows()[3:])
    sink.commit()
    assert sorted(collection(tmp_path).get()["ids"]) == ["0", "1", "3"]


def test_what_is_no_scalar_becomes_text(tmp_path: Path) -> None:
    sink = ChromaSink.at(f"chroma://{tmp_path}#products")
    sink.open(table(*EVERY_CELL))
    sink.write([EVERY_CELL | {"embedding": vector(UP)}])
    sink.commit()
    (there,) = collection(tmp_path).get()["metadatas"]
    assert json.loads(there.pop("list")) == [1, "two", None]
    assert json.loads(there.pop("object")) == {"a": {"b": [1]}}
    assert there == {
        "truth": True,
        "whole": 2**40,
        "huge": str(2**70),
        "real": 1.5,
        "text": "ü\ufffd\ufffd",
        "bytes": "AP8=",
        "day": "2026-11-21",
        "moment": "2026-11-21T12:30:00Z",
        "exact": "12.50",
    }


@pytest.mark.parametrize(("distance", "space"), [("cosine", "cosine"), ("l2", "l2"), ("ip", "ip")])
def test_the_distance_is_chosen_when_the_collection_is_made(
    tmp_path: Path, distance: str, space: str
) -> None:
    sink = ChromaSink.at(f"chroma://{tmp_path}?distance={distance}#products")
    sink.open(table("sku", "stars"))
    sink.write(rows())
    sink.commit()
    assert collection(tmp_path).configuration["hnsw"]["space"] == space


def test_a_collection_of_another_dimension_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    sink = ChromaSink.at(f"chroma://{tmp_path}#products")
    sink.open(table("sku", "stars"))
    sink.write(rows())
    sink.commit()
    with pytest.raises(SinkError, match=r"vectors there have 4 numbers, column 'embedding' has 3"):
        ChromaSink.at(f"chroma://{tmp_path}#products").open(table("sku", dimensions=3))
    later = ChromaSink.at(f"chroma://{tmp_path}#products")
    later.open(table("sku", dimensions=None))
    with pytest.raises(SinkError, match=r"vectors there have 4 numbers, column 'embedding' has 3"):
        later.write([{"sku": "a", "embedding": vector([1, 2, 3])}])
    later.discard()
    assert collection(tmp_path).count() == 3


def test_discard_removes_only_a_collection_that_was_made(tmp_path: Path) -> None:
    for name, made_before in (("products", False), ("older", True)):
        sink = ChromaSink.at(f"chroma://{tmp_path}#{name}")
        if made_before:
            sink.open(table("sku", "stars"))
            sink.write(rows())
            sink.commit()
            sink = ChromaSink.at(f"chroma://{tmp_path}#{name}")
        sink.open(table("sku", "stars"))
        sink.write(rows()[:1])
        sink.discard()
        sink.discard()
    with pytest.raises(chromadb.errors.NotFoundError):
        collection(tmp_path)
    assert collection(tmp_path, "older").count() == 3


# Chroma leaves its connections to the garbage collector, which is why that is called here.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
def test_a_server_is_written_to_as_a_folder_is(port: int) -> None:
    sink = ChromaSink.at(f"chroma+http://127.0.0.1:{port}#products")
    for _ in range(2):
        sink.open(table("sku", "stars", keys=["sku"]))
        sink.write(rows())
        sink.commit()
    settings = chromadb.config.Settings(anonymized_telemetry=False)
    client = chromadb.HttpClient(host="127.0.0.1", port=port, settings=settings)
    there = client.get_collection("products", embedding_function=None)
    assert nearest(there, UP, 3)[0] == "up"
    assert there.count() == 3
    del client, there, sink
    gc.collect()


def test_a_server_that_is_not_there_is_found_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    sink = ChromaSink.at(f"chroma+http://127.0.0.1:{port}#products")
    with pytest.raises(SinkError, match="cannot be opened: Could not connect"):
        sink.open(table("sku"))
    sink.discard()


def test_a_folder_that_cannot_be_made_is_found_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match="cannot be opened"):
        ChromaSink.at(f"chroma://{tmp_path}/file/folder#products").open(table("sku"))


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("chroma://folder", "Chroma wants 3 to 512"),
        ("chroma://folder#ab", "Chroma wants 3 to 512"),
        ("chroma://#products", "no folder is named"),
        ("chroma://folder?distance=far#products", "no distance 'far'; there are cosine, l2, ip"),
        ("chroma://folder?size=4#products", "no option 'size'; there are distance"),
        ("chroma+http://#products", "HOST:PORT"),
    ],
)
def test_an_address_that_is_not_whole_is_refused(address: str, says: str) -> None:
    with pytest.raises(SinkError, match=says):
        ChromaSink.at(address)


def test_a_table_without_a_vector_or_with_a_reserved_name_is_refused(tmp_path: Path) -> None:
    sink = ChromaSink.at(f"chroma://{tmp_path}#products")
    bare = table("sku")
    with pytest.raises(SinkError, match="here are 0 vector columns"):
        sink.open(type(bare)(columns=bare.columns[:1]))
    with pytest.raises(SinkError, match="no column named 'chroma:document'"):
        sink.open(table("chroma:document"))

"""Which sink an address of a vector store means."""

from __future__ import annotations

import pytest

from bulkrate.errors import SinkError
from bulkrate.toolkit.sinks import open_sink


@pytest.mark.parametrize(
    ("target", "options", "name"),
    [
        ("lancedb://db#products", {}, "lancedb://db#products"),
        ("lancedb://db", {"table": "products"}, "lancedb://db#products"),
        ("db/products.lance", {}, "lancedb://db#products"),
        ("shop.lancedb", {}, "lancedb://shop.lancedb#rows"),
        ("chroma://folder#products", {"distance": "l2"}, "chroma://folder#products"),
        ("chroma+https://chroma:443", {"table": "products"}, "chroma+https://chroma:443#products"),
        ("qdrant://localhost:6333/products", {"distance": "ip"}, "qdrant://localhost:6333/products"),
        ("qdrant:///folder/products", {}, "qdrant:///folder/products#products"),
        (
            "postgresql+pgvector://ada:secret@localhost/shop?sslmode=require",
            {"table": "products", "index": "hnsw"},
            "postgresql+pgvector://ada@localhost/shop#products",
        ),
    ],
)
def test_an_address_means_a_store(target: str, options: dict[str, str], name: str) -> None:
    assert open_sink(target, **options).name == name


@pytest.mark.parametrize("target", ["lancedb://db#products", "chroma://db#products", "qdrant://localhost/a"])
def test_an_option_that_a_store_does_not_know_is_refused(target: str) -> None:
    with pytest.raises(SinkError, match="there is no option 'mode'"):
        open_sink(target, mode="append")

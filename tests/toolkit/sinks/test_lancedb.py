"""LanceDB, in a folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bulkrate.errors import SinkError
from bulkrate.toolkit.rows.table import Column, Row, Table, VectorType
from bulkrate.toolkit.sinks.lancedb import LanceDBSink
from tests.toolkit.sinks.vectors import EAST, EVERY_CELL, NORTH, UP, rows, table, vector

lancedb = pytest.importorskip("lancedb")
arrow = pytest.importorskip("pyarrow")


def there(folder: Path, name: str = "products") -> Any:
    return lancedb.connect(str(folder)).open_table(name)


def search(folder: Path, to: Sequence[float], distance: str = "cosine") -> Any:
    found = (
        there(folder).search(to, vector_column_name="embedding").distance_type(distance).limit(1).to_list()
    )
    return found[0]


def write(folder: Path, of: Table, groups: Sequence[Sequence[Row]], options: str = "") -> LanceDBSink:
    sink = LanceDBSink.at(f"lancedb://{folder}{options}#products")
    sink.open(of)
    try:
        for group in groups:
            sink.write(group)
        sink.commit()
    finally:
        sink.discard()
    return sink


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_rows_are_found_by_what_they_are_near_to(tmp_path: Path, dtype: VectorType) -> None:
    sink = write(tmp_path, table("sku", "stars", keys=["sku"], dtype=dtype), [rows(dtype)])
    assert [search(tmp_path, to)["sku"] for to in (EAST, NORTH, UP)] == ["east", "north", "up"]
    assert search(tmp_path, [x * 100 for x in EAST])["_distance"] == pytest.approx(0, abs=1e-3)
    assert (there(tmp_path).count_rows(), sink.left_out) == (3, 1)
    kept = "halffloat" if dtype == "float16" else "float"
    assert str(there(tmp_path).schema.field("embedding").type.value_type) == kept


def test_nothing_is_seen_before_commit_and_all_of_it_in_one_version(tmp_path: Path) -> None:
    of = table("sku", "stars", keys=["sku"])
    write(tmp_path, of, [rows()])
    before = there(tmp_path).version
    sink = LanceDBSink.at(f"lancedb://{tmp_path}#products")
    sink.open(of)
    for number in range(3):
        sink.write([{"sku": f"new {number}", "stars": 1, "embedding": vector(UP)}])
    assert there(tmp_path).count_rows() == 3
    sink.commit()
    assert (there(tmp_path).count_rows(), there(tmp_path).version) == (6, before + 1)


def test_a_large_writing_takes_several_versions_and_replaces_the_same(tmp_path: Path) -> None:
    of = table("sku", keys=["sku"])
    for to in (EAST, UP):
        sink = LanceDBSink.at(f"lancedb://{tmp_path}#products")
        sink.bytes_per_version = 1
        sink.open(of)
        sink.write([{"sku": str(number), "embedding": vector(to)} for number in range(2500)])
        sink.commit()
    assert there(tmp_path).version == 1 + 3  # a thousand rows are the least
    assert there(tmp_path).count_rows() == 2500
    assert search(tmp_path, UP)["_distance"] == pytest.approx(0)
    assert search(tmp_path, EAST)["_distance"] > 0.9


def test_discard_leaves_nothing_behind(tmp_path: Path) -> None:
    sink = LanceDBSink.at(f"lancedb://{tmp_path}/db#products")
    sink.open(table("sku", "stars"))
    sink.write(rows())
    sink.discard()
    sink.discard()
    assert list((tmp_path / "db").iterdir()) == []


def test_writing_again_replaces_rows_and_keeps_the_others(tmp_path: Path) -> None:
    of = table("shop", "sku", "stars", keys=["shop", "sku"])
    write(tmp_path, of, [[{"shop": 1, "sku": sku, "stars": 1, "embedding": vector(EAST)} for sku in "ab"]])
    write(
        tmp_path, of, [[{"shop": shop, "sku": "a", "stars": 2, "embedding": vector(UP)} for shop in (1, 2)]]
    )
    found = there(tmp_path).to_arrow().sort_by([("shop", "ascending"), ("sku", "ascending")]).to_pylist()
    assert found == [
        {"shop": 1, "sku": "a", "stars": 2, "embedding": UP},
        {"shop": 1, "sku": "b", "stars": 1, "embedding": pytest.approx(EAST)},
        {"shop": 2, "sku": "a", "stars": 2, "embedding": UP},
    ]


def test_without_keys_the_row_number_is_the_key(tmp_path: Path) -> None:
    for _ in range(2):
        write(tmp_path, table("sku", "stars"), [rows()[:3], rows()[3:]])
    assert there(tmp_path).to_arrow().column("_row").to_pylist() == [0, 1, 3]
    with pytest.raises(SinkError, match="column '_row' is the row number's"):
        LanceDBSink.at(f"lancedb://{tmp_path}#others").open(table("_row"))


def test_cells_keep_their_types(tmp_path: Path) -> None:
    write(tmp_path, table(*EVERY_CELL), [[EVERY_CELL | {"embedding": vector(UP)}]])
    (row,) = there(tmp_path).to_arrow().to_pylist()
    assert json.loads(row.pop("list")) == [1, "two", None]
    assert json.loads(row.pop("object")) == {"a": {"b": [1]}}
    assert row.pop("nan") != row.get("nan")
    assert {name: row[name] for name in EVERY_CELL if name in row} == {
        name: EVERY_CELL[name] for name in ("nothing", "truth", "whole", "real", "bytes", "day", "moment")
    } | {"text": "ü\ufffd\ufffd", "exact": EVERY_CELL["exact"], "huge": 2**70}


def test_a_column_that_changes_its_mind_later_becomes_the_wider_type(tmp_path: Path) -> None:
    first = {"a": 1, "b": 1, "c": None, "embedding": vector(UP)}
    second = {"a": 1.5, "b": "x", "c": True, "embedding": vector(UP)}
    write(tmp_path, table("a", "b", "c"), [[first], [second]])
    found = there(tmp_path).to_arrow().drop_columns(["embedding", "_row"]).to_pylist()
    assert found == [{"a": 1.0, "b": "1", "c": None}, {"a": 1.5, "b": "x", "c": True}]


def test_the_sources_own_arrow_types_are_kept(tmp_path: Path) -> None:
    schema = arrow.schema([("sku", arrow.int16()), ("tags", arrow.list_(arrow.string()))])
    columns = (Column(name="sku"), Column(name="tags"), Column(name="embedding", kind="vector"))
    of = Table(columns=columns, arrow=schema.serialize().to_pybytes(), keys=("sku",))
    for _ in range(2):
        write(tmp_path, of, [[{"sku": 7, "tags": ["a", "b"], "embedding": vector(UP)}]])
    assert [there(tmp_path).schema.field(name).type for name in ("sku", "tags")] == schema.types
    assert there(tmp_path).to_arrow().column("tags").to_pylist() == [["a", "b"]]


def test_a_table_of_another_dimension_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    write(tmp_path, table("sku", "stars"), [rows()])
    with pytest.raises(SinkError, match=r"vectors there have 4 numbers, column 'embedding' has 3"):
        LanceDBSink.at(f"lancedb://{tmp_path}#products").open(table("sku", "stars", dimensions=3))
    later = LanceDBSink.at(f"lancedb://{tmp_path}#products")
    later.open(table("sku", "stars", dimensions=None))
    with pytest.raises(SinkError, match=r"vectors there have 4 numbers, column 'embedding' has 3"):
        later.write([{"sku": "a", "stars": 1, "embedding": vector([1, 2, 3])}])
    later.discard()


def test_a_table_with_other_columns_is_refused_and_they_are_named(tmp_path: Path) -> None:
    write(tmp_path, table("sku", "stars"), [rows()])
    with pytest.raises(SinkError, match="no column price; name another table"):
        LanceDBSink.at(f"lancedb://{tmp_path}#products").open(table("sku", "stars", "price"))
    with pytest.raises(SinkError, match="also has stars, which these rows lack"):
        LanceDBSink.at(f"lancedb://{tmp_path}#products").open(table("sku"))


def test_a_cell_that_does_not_fit_the_table_that_is_there_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path, table("sku", "stars"), [rows()])
    with pytest.raises(SinkError, match="column 'stars': a cell that is no int64") as refused:
        write(tmp_path, table("sku", "stars"), [[{"sku": "a", "stars": "many", "embedding": vector(UP)}]])
    assert "many" not in str(refused.value)
    assert there(tmp_path).count_rows() == 3


def test_a_cell_that_does_not_fit_leaves_no_half_made_table(tmp_path: Path) -> None:
    schema = arrow.schema([("stars", arrow.int16())]).serialize().to_pybytes()
    of = Table(columns=table("stars").columns, arrow=schema)
    with pytest.raises(SinkError, match="column 'stars': a cell that is no int16"):
        write(tmp_path, of, [[{"stars": n, "embedding": vector(UP)}] for n in (1, 2**20)])
    write(tmp_path, of, [[{"stars": 1, "embedding": vector(UP)}]])
    assert there(tmp_path).count_rows() == 1


def test_an_index_is_built_for_the_distance_that_is_named(tmp_path: Path) -> None:
    named = [{"sku": str(n), "embedding": vector([1.0, n, n * n, 1.0])} for n in range(300)]
    write(tmp_path, table("sku", keys=["sku"]), [named], "?index=hnsw&distance=ip")
    (index,) = there(tmp_path).list_indices()
    assert there(tmp_path).index_stats(index.name).distance_type == "dot"
    assert search(tmp_path, [0, 1, 2, 0], "dot")["sku"] == "299"


def test_a_row_file_is_not_left_in_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match="cannot be opened"):
        LanceDBSink.at(f"lancedb://{tmp_path}/file/db#products").open(table("sku"))


@pytest.mark.parametrize(
    ("address", "folder", "name"),
    [
        ("lancedb://db/shop#products", "db/shop", "products"),
        ("lancedb:///db#products", "/db", "products"),
        ("db/products.lance", "db", "products"),
        ("db/shop.lancedb", "db/shop.lancedb", "rows"),
    ],
)
def test_an_address_or_a_path_names_folder_and_table(address: str, folder: str, name: str) -> None:
    assert LanceDBSink.at(address).name == f"lancedb://{folder}#{name}"


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("lancedb://db", "say lancedb://FOLDER#TABLE"),
        ("lancedb://db#a b", "say lancedb://FOLDER#TABLE"),
        ("lancedb://#products", "say lancedb://FOLDER#TABLE"),
        ("lancedb://db?distance=l2#products", "only with index=hnsw"),
        ("lancedb://db?index=flat#products", "no index 'flat'"),
    ],
)
def test_an_address_that_is_not_whole_is_refused(address: str, says: str) -> None:
    with pytest.raises(SinkError, match=says):
        LanceDBSink.at(address)

"""pgvector, in a real PostgreSQL that has the extension."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import uuid4

import pytest

from bulkrate.errors import SinkError
from bulkrate.toolkit.rows.table import Row, Table, VectorType
from bulkrate.toolkit.sinks.pgvector import PgvectorSink
from tests.support.postgres import database as own_database
from tests.toolkit.sinks.vectors import EAST, EVERY_CELL, NORTH, UP, rows, table, vector

psycopg = pytest.importorskip("psycopg")


class Database:
    """A database of the test's own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.address = self.url.replace("postgresql://", "postgresql+pgvector://")

    def ask(self, query: str) -> list[Any]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            answer = connection.execute(query)
            return list(answer.fetchall()) if answer.description else []

    def nearest(self, to: Sequence[float], operator: str = "<=>") -> tuple[str, float]:
        query = f"SELECT sku, embedding {operator} '{list(to)}' AS far FROM products ORDER BY far LIMIT 1"
        ((sku, far),) = self.ask(query)
        return sku, far

    def write(self, of: Table, groups: Sequence[Sequence[Row]], options: str = "") -> PgvectorSink:
        sink = PgvectorSink.at(f"{self.address}?table=products{options}")
        sink.open(of)
        try:
            for group in groups:
                sink.write(group)
            sink.commit()
        finally:
            sink.discard()
        return sink


@pytest.fixture
def database(postgres_root: str) -> Iterator[Database]:
    with own_database(postgres_root) as url:
        yield Database(url)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_rows_are_found_by_what_they_are_near_to(database: Database, dtype: VectorType) -> None:
    sink = database.write(table("sku", "stars", keys=["sku"], dtype=dtype), [rows(dtype)])
    assert [database.nearest(to)[0] for to in (EAST, NORTH, UP)] == ["east", "north", "up"]
    assert database.nearest([x * 100 for x in EAST])[1] == pytest.approx(0, abs=1e-4)
    assert (database.ask("SELECT count(*) FROM products"), sink.left_out) == ([(3,)], 1)
    kind = "halfvec" if dtype == "float16" else "vector"
    assert database.ask("SELECT pg_typeof(embedding)::text FROM products LIMIT 1") == [(kind,)]


def test_nothing_is_seen_before_commit_and_nothing_is_left_after_discard(database: Database) -> None:
    sink = PgvectorSink.at(f"{database.address}?table=products")
    sink.open(table("sku", "stars"))
    sink.write(rows())
    assert database.ask("SELECT to_regclass('products')") == [(None,)]
    sink.discard()
    sink.discard()
    assert database.ask("SELECT to_regclass('products')") == [(None,)]


def test_writing_again_replaces_rows_and_keeps_the_others(database: Database) -> None:
    of = table("shop", "sku", "stars", keys=["shop", "sku"])
    database.write(of, [[{"shop": 1, "sku": sku, "stars": 1, "embedding": vector(EAST)} for sku in "ab"]])
    database.write(of, [[{"shop": shop, "sku": "a", "stars": 2, "embedding": vector(UP)} for shop in (1, 2)]])
    found = database.ask("SELECT shop, sku, stars, embedding::text FROM products ORDER BY 1, 2")
    assert found == [(1, "a", 2, "[0,0,0,2]"), (1, "b", 1, "[3,0.1,0,0]"), (2, "a", 2, "[0,0,0,2]")]


def test_without_keys_the_row_number_is_the_key(database: Database) -> None:
    for _ in range(2):
        database.write(table("sku", "stars"), [rows()[:3], rows()[3:]])
    assert database.ask("SELECT _row FROM products ORDER BY 1") == [(0,), (1,), (3,)]


def test_cells_keep_their_types(database: Database) -> None:
    database.write(table(*EVERY_CELL), [[EVERY_CELL | {"embedding": vector(UP)}]])
    ((nan,),) = database.ask('SELECT "nan" FROM products')
    assert nan != nan
    names = [name for name in EVERY_CELL if name != "nan"]
    ((*cells,),) = database.ask(f"SELECT {', '.join(names)} FROM products")
    wanted = {name: EVERY_CELL[name] for name in names}
    assert dict(zip(names, cells, strict=True)) == wanted | {"text": "ü\ufffd\ufffd"}


def test_a_column_that_changes_its_mind_later_becomes_the_wider_type(database: Database) -> None:
    first = {"a": 1, "b": 1, "c": None, "embedding": vector(UP)}
    second = {"a": 1.5, "b": "x", "c": True, "embedding": vector(UP)}
    database.write(table("a", "b", "c"), [[first], [second]])
    assert database.ask("SELECT a, b, c FROM products ORDER BY _row") == [(1.0, "1", None), (1.5, "x", True)]


def test_a_table_that_is_there_keeps_its_own_types_and_columns(database: Database) -> None:
    database.ask("CREATE EXTENSION vector")
    database.ask(
        "CREATE TABLE products"
        " (sku text UNIQUE, stars numeric(3, 1), embedding halfvec(4), noted text DEFAULT 'x')"
    )
    for _ in range(2):
        database.write(table("sku", "stars", keys=["sku"]), [rows()])
    assert database.ask("SELECT sku, stars::text, noted FROM products ORDER BY stars") == [
        ("east", "0.0", "x"),
        ("north", "1.0", "x"),
        ("up", "2.0", "x"),
    ]
    assert database.nearest(NORTH)[0] == "north"


def test_a_table_may_be_in_a_schema_and_names_need_quotes(database: Database) -> None:
    database.ask('CREATE SCHEMA "My Shop"')
    sink = PgvectorSink.at(f"{database.address}?table=My%20Shop.Order")
    sink.open(table('select "x"', keys=['select "x"']))
    sink.write([{'select "x"': 1, "embedding": vector(UP)}])
    sink.commit()
    assert database.ask('SELECT * FROM "My Shop"."Order"') == [(1, "[0,0,0,2]")]


def test_a_table_of_another_dimension_is_refused_before_anything_is_written(database: Database) -> None:
    database.write(table("sku", "stars"), [rows()])
    with pytest.raises(SinkError, match=r"vectors there have 4 numbers, column 'embedding' has 3"):
        database.write(table("sku", "stars", dimensions=3), [])
    with pytest.raises(SinkError, match=r"vectors there have 4 numbers, column 'embedding' has 3"):
        database.write(
            table("sku", "stars", dimensions=None),
            [[{"sku": "a", "stars": 1, "embedding": vector([1, 2, 3])}]],
        )


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ("sku text UNIQUE, embedding vector(4)", "has no column stars; add it"),
        ("sku text UNIQUE, stars int, embedding text", "column 'embedding' is text, no vector"),
        ("sku text, stars int, embedding vector(4)", r"has no unique index on \(sku\)"),
        ("sku text, stars int, embedding vector(4), UNIQUE (sku, stars)", r"has no unique index on \(sku\)"),
    ],
)
def test_a_table_that_does_not_suit_is_refused_at_once(database: Database, made: str, says: str) -> None:
    database.ask("CREATE EXTENSION vector")
    database.ask(f"CREATE TABLE products ({made})")
    with pytest.raises(SinkError, match=says):
        database.write(table("sku", "stars", keys=["sku"]), [])


def test_a_row_that_does_not_fit_changes_nothing_and_is_not_quoted(database: Database) -> None:
    database.write(table("sku", "stars", keys=["sku"]), [rows()])
    with pytest.raises(
        SinkError, match=r"a row does not fit \(InvalidTextRepresentation, SQLSTATE 22P02\)"
    ) as refused:
        database.write(
            table("sku", "stars", keys=["sku"]),
            [
                [
                    {"sku": sku, "stars": stars, "embedding": vector(UP)}
                    for sku, stars in (("a", 1), ("b", "many"))
                ]
            ],
        )
    assert "many" not in str(refused.value)
    assert database.ask("SELECT count(*) FROM products") == [(3,)]


def test_an_index_is_built_for_the_distance_that_is_named(database: Database) -> None:
    for _ in range(2):
        database.write(table("sku", "stars", keys=["sku"]), [rows()], "&index=hnsw&distance=ip")
    ((definition,),) = database.ask("SELECT indexdef FROM pg_indexes WHERE indexdef LIKE '%hnsw%'")
    assert "(embedding vector_ip_ops)" in definition
    assert database.nearest([0, 0, 0, 1], "<#>") == ("up", -2.0)


def test_an_index_that_cannot_be_built_leaves_the_rows(database: Database) -> None:
    long = vector([1.0] * 3000)
    with pytest.raises(SinkError, match=r"has the rows, but an index cannot be built: .*2000 dimensions"):
        database.write(table("sku", dimensions=3000), [[{"sku": "a", "embedding": long}]], "&index=hnsw")
    assert database.ask("SELECT count(*) FROM products") == [(1,)]


def test_one_who_may_not_write_is_told_at_once(database: Database) -> None:
    database.ask("CREATE EXTENSION vector")
    reader = f"reader_{uuid4().hex}"
    database.ask(f"CREATE ROLE {reader} LOGIN")
    try:
        address = re.sub("//[^@]*@", f"//{reader}@", database.address)
        with pytest.raises(SinkError, match="this user may not write there"):
            PgvectorSink.at(f"{address}?table=products").open(table("sku"))
    finally:
        database.ask(f"DROP ROLE {reader}")


def test_a_run_without_any_vector_makes_no_table(database: Database) -> None:
    sink = database.write(table("sku", "stars", dimensions=None), [rows()[2:3]])
    assert sink.left_out == 1
    assert database.ask("SELECT to_regclass('products')") == [(None,)]


def test_a_server_that_is_not_there_is_found_at_once_and_no_password_is_told() -> None:
    sink = PgvectorSink.at("postgresql+pgvector://ada:secret@127.0.0.1:1/shop?table=products")
    with pytest.raises(
        SinkError, match=r"127\.0\.0\.1:1/shop#products cannot be opened: .*refused"
    ) as refused:
        sink.open(table("sku"))
    assert "secret" not in str(refused.value)
    assert "secret" not in sink.name


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("postgresql+pgvector://localhost/shop", "no table is named"),
        ("postgresql+pgvector://localhost/shop?table=a&distance=l2", "only with index=hnsw"),
        ("postgresql+pgvector://localhost/shop?table=a&index=flat", "no index 'flat'"),
    ],
)
def test_an_address_that_is_not_whole_is_refused(address: str, says: str) -> None:
    with pytest.raises(SinkError, match=says):
        PgvectorSink.at(address)

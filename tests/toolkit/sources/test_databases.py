"""Queries and tables of SQLite, DuckDB and PostgreSQL as sources."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from bulkrate.errors import SourceError
from bulkrate.toolkit.rows import arrow
from bulkrate.toolkit.sources import open_source
from tests.toolkit.databases import DuckdbPlace, SqlitePlace


@pytest.fixture
def reviews(place):
    place.ask("CREATE TABLE reviews (id INTEGER, text VARCHAR(100))")
    place.ask("INSERT INTO reviews VALUES (1, 'good'), (2, NULL), (3, 'bäd')")
    return place


_ROWS = [{"id": 1, "text": "good"}, {"id": 2, "text": None}, {"id": 3, "text": "bäd"}]


def test_a_table_is_named_three_ways(reviews):
    for source in (
        open_source(reviews.address, table="reviews"),
        open_source(f"{reviews.address}#reviews"),
        open_source(f"{reviews.address}?table=reviews"),
    ):
        assert [column.name for column in source.columns] == ["id", "text"]
        assert source.mark() is None
        assert sorted(source.rows(), key=lambda row: row["id"]) == _ROWS
        assert len(list(source.rows())) == 3


def test_a_query_is_asked_as_it_stands(reviews):
    source = open_source(
        reviews.address, query="SELECT id * 2 AS twice FROM reviews WHERE text LIKE '%d' ORDER BY id;\n"
    )
    assert list(source.rows()) == [{"twice": 2}, {"twice": 6}]


def test_no_rows_still_have_columns(reviews):
    source = open_source(reviews.address, query="SELECT id FROM reviews WHERE id > 9")
    assert [column.name for column in source.columns] == ["id"]
    assert list(source.rows()) == []


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({}, "which rows"),
        ({"table": "reviews", "query": "SELECT 1"}, "both a query and the table 'reviews'"),
        ({"table": "nowhere"}, "nowhere"),
        ({"query": "SELECT id, id FROM reviews"}, "two columns are named"),
        ({"query": "DELETE FROM reviews"}, "read|rows|syntax|columns|SELECT"),
        ({"query": "SELECT id FROM reviews; DROP TABLE reviews"}, "statement|multiple|syntax"),
    ],
)
def test_what_cannot_be_asked_is_refused_and_nothing_is_changed(reviews, asked, says):
    if says.startswith("two columns") and isinstance(reviews, DuckdbPlace):
        pytest.skip("DuckDB gives the second column a name of its own")
    with pytest.raises(SourceError, match=says):
        list(open_source(reviews.address, **asked).rows())
    assert reviews.ask("SELECT count(*) FROM reviews") == [(3,)]


def test_names_with_quotes_are_names(place):
    place.ask('CREATE TABLE "my ""reviews" ("the ""id" INTEGER)')
    place.ask('INSERT INTO "my ""reviews" VALUES (1)')
    assert list(open_source(place.address, table='my "reviews').rows()) == [{'the "id': 1}]


def test_rows_are_read_in_another_thread_than_the_columns(reviews):
    source = open_source(reviews.address, table="reviews")
    found: list[dict[str, object]] = []
    thread = threading.Thread(target=lambda: found.extend(source.rows()))
    thread.start()
    thread.join()
    assert len(found) == 3


def test_a_missing_database_is_not_made(tmp_path):
    for kind in (SqlitePlace, DuckdbPlace):
        place = kind(tmp_path)
        with pytest.raises(SourceError, match="there is no file"):
            open_source(place.address, table="t")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_database_is_named(tmp_path):
    for kind in (SqlitePlace, DuckdbPlace):
        place = kind(tmp_path)
        place.path.write_text("id,text\n" * 1_000)
        with pytest.raises(SourceError, match=r"t\.(db|duckdb): "):
            open_source(place.address, table="t")


def test_sqlite_text_in_another_encoding_is_named_by_row_and_not_shown(tmp_path):
    place = SqlitePlace(tmp_path)
    place.ask("CREATE TABLE t AS SELECT 'fine' AS c UNION ALL SELECT CAST(x'736563726574e9' AS TEXT)")
    with pytest.raises(SourceError, match="row 2: a text that is no UTF-8") as raised:
        list(open_source(place.address, table="t").rows())
    assert "secret" not in str(raised.value)


def test_an_unreachable_server_is_named_without_its_password():
    with pytest.raises(SourceError, match=r"postgresql://u@127\.0\.0\.1:1/d: ") as raised:
        open_source("postgresql://u:secret@127.0.0.1:1/d", table="t")
    assert "secret" not in str(raised.value)


def test_postgresql_types_become_cells(postgres):
    source = open_source(
        postgres.address,
        query="""SELECT 1::int2 AS i, 1.5::float4 AS x, 1.50::numeric AS d, true AS b, 'a'::text AS t,
        '{"k": [1]}'::jsonb AS j, ARRAY[1, NULL] AS l, '2026-01-31'::date AS day,
        '2026-01-01 12:00+02'::timestamptz AS at, '\\x00ff'::bytea AS raw, '10.0.0.1'::inet AS net,
        '00000000-0000-0000-0000-000000000001'::uuid AS u, int4range(1, 5) AS r""",
    )
    kinds = {column.name: column.kind for column in source.columns}
    assert (kinds["i"], kinds["x"], kinds["d"], kinds["b"], kinds["t"], kinds["j"]) == (
        "integer",
        "number",
        "any",
        "boolean",
        "text",
        "json",
    )
    assert next(source.rows()) == {
        "i": 1,
        "x": 1.5,
        "d": Decimal("1.50"),
        "b": True,
        "t": "a",
        "j": {"k": [1]},
        "l": [1, None],
        "day": date(2026, 1, 31),
        "at": datetime(2026, 1, 1, 10, tzinfo=UTC),
        "raw": b"\x00\xff",
        "net": "10.0.0.1",
        "u": UUID(int=1),
        "r": "[1, 5)",
    }


def test_postgresql_gives_rows_as_they_are_asked_for(postgres):
    # The whole would be 10,000,000 rows; the first come at once, and the rest is never made.
    rows = open_source(
        postgres.address, query="SELECT * FROM generate_series(1, 10000000) AS n", limit=3
    ).rows()
    assert [row["n"] for row in rows] == [1, 2, 3]


def test_a_row_at_fault_in_postgresql_is_told_without_its_cell(postgres):
    postgres.ask("CREATE TABLE t AS SELECT 'secret'::text AS c")
    with pytest.raises(SourceError, match=r"InvalidTextRepresentation \(22P02\)") as raised:
        list(open_source(postgres.address, query="SELECT c::int FROM t").rows())
    assert "secret" not in str(raised.value)


def test_duckdb_types_become_cells(tmp_path):
    source = open_source(
        _some_duckdb(tmp_path).address,
        query="SELECT 1.50::DECIMAL(4, 2) AS d, {'a': [1]} AS s, MAP {'k': 1} AS m, DATE '2026-01-31' AS day",
    )
    assert arrow.schema_of(source.arrow).names == ["d", "s", "m", "day"]
    assert list(source.rows()) == [
        {"d": Decimal("1.50"), "s": {"a": [1]}, "m": [["k", 1]], "day": date(2026, 1, 31)}
    ]


def _some_duckdb(tmp_path):
    place = DuckdbPlace(tmp_path)
    place.ask("CREATE TABLE t (n INTEGER)")
    return place

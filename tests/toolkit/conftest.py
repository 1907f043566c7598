"""Databases for the tests of sources and sinks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.postgres import cluster, database
from tests.toolkit.databases import DuckdbPlace, Place, PostgresqlPlace, SqlitePlace


@pytest.fixture(scope="session")
def postgres_root() -> Iterator[str]:
    """A server of PostgreSQL."""
    with cluster() as root:
        yield root


@pytest.fixture
def postgres(postgres_root: str) -> Iterator[PostgresqlPlace]:
    """A database of PostgreSQL."""
    with database(postgres_root) as address:
        yield PostgresqlPlace(address)


@pytest.fixture(params=["sqlite", "duckdb", "postgresql"])
def place(request, tmp_path) -> Place:
    """A database of each kind."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgres")
    return SqlitePlace(tmp_path) if request.param == "sqlite" else DuckdbPlace(tmp_path)

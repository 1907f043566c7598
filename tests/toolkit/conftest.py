"""Databases and object stores for the tests of sources and sinks."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.objectstores import Bucket, bucket, outside, store
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


@pytest.fixture(scope="session")
def s3_store() -> Iterator[int]:
    """The port of a store that speaks the wire of S3."""
    with store("s3") as port:
        yield port


@pytest.fixture(scope="session")
def gs_store() -> Iterator[int]:
    """The port of a store that speaks the wire of Google Cloud Storage."""
    with store("gs") as port:
        yield port


@pytest.fixture(params=["s3", "gs"])
def objects(request, monkeypatch) -> Bucket:
    """A bucket of each kind; the environment is that of somebody who works with it."""
    made = bucket(request.param, request.getfixturevalue(f"{request.param}_store"))
    environment = outside(made.env)
    for name in set(os.environ) - set(environment):
        monkeypatch.delenv(name)
    for name, value in made.env.items():
        monkeypatch.setenv(name, value)
    return made

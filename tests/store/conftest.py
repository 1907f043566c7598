"""A real SQLite file for each test."""

from __future__ import annotations

import pytest

from bulkrate.store import Store


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "bulkrate.db")
    yield store
    store.close()

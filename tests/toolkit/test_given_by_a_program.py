"""What a program hands over and cannot be meant is refused with what to do, before anything is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import bulkrate
from bulkrate.errors import RecipeError, SourceError
from bulkrate.toolkit.sinks import is_table


@pytest.fixture
def place(tmp_path: Path) -> dict[str, Any]:
    # Nothing listens there, and nothing has to: none of these come so far.
    return {"model": "m", "upstream": "http://127.0.0.1:9/v1", "data": str(tmp_path)}


def test_a_text_is_no_list_of_labels(place: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"give them as \['good', 'bad'\]"):
        bulkrate.classify(["fine"], labels="good,bad", **place)


def test_a_text_is_no_request(place: dict[str, Any]) -> None:
    with pytest.raises(SourceError, match=r"request 1 is a str; .* bulkrate\.map"):
        bulkrate.batch([{"messages": []}, "hello"], **place)


def test_no_rows_are_told_as_such_and_not_as_a_missing_column(place: dict[str, Any]) -> None:
    with pytest.raises(SourceError, match="no rows"):
        bulkrate.map([], prompt="{{ text }}", **place).result()


@pytest.mark.parametrize(
    "target", ["sqlite:///x.db#reports", "reports.csv", "r.lancedb", "s3://b/r.parquet", "-"]
)
def test_reports_go_into_what_names_a_table(target: str) -> None:
    assert is_table(target)


@pytest.mark.parametrize("target", ["reports", "reports/", "out.csv/", "2026.10"])
def test_reports_go_as_documents_into_everything_else(target: str) -> None:
    assert not is_table(target)

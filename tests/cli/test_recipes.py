"""The recipes as one types them: each for real, on a server in front of the sandbox."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bulkrate
from tests.cli.conftest import Type
from tests.support.command import ran
from tests.support.processes import Server

TEXTS = [f"text number {number}" for number in range(40)]
ITEM = {"type": "object", "properties": {"item": {"type": "string"}, "count": {"type": "integer"}}}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with a table and a schema."""
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "maker", "text"])
        writer.writerows([number, f"maker {number % 3}", text] for number, text in enumerate(TEXTS))
    (tmp_path / "item.json").write_text(json.dumps(ITEM))
    return tmp_path


@pytest.fixture
def asked(typed: Type, here: Path, server: Server) -> Callable[..., Any]:
    """Type a recipe over the table, there; its summary."""

    def run(recipe: str, *words: object) -> Any:
        done = typed(recipe, here / "rows.csv", *words, "--server", server.url, "-m", "small", "--quiet")
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout)

    return run


def rows_of(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("words", "columns"),
    [
        (("classify", "-c", "text", "--labels", "good,bad"), ["label"]),
        (("classify", "-c", "text", "--labels", "good,bad", "--confidence"), ["label", "confidence"]),
        (
            ("classify", "-c", "text", "--labels", "good,bad", "--confidence", "--answer", "mood"),
            ["mood", "mood_confidence"],
        ),
        (("extract", "-c", "text", "--schema", "item.json"), ["item", "count"]),
        (("summarize", "-c", "text", "--words", "5"), ["summary"]),
        (("translate", "-c", "text", "--to", "German", "--answer", "german"), ["german"]),
    ],
    ids=" ".join,
)
def test_a_recipe_adds_its_columns_to_every_row(here, asked, words, columns):
    told = asked(*words, "-o", "out.csv")
    assert (told["recipe"], told["answered"], told["failed"], told["adds_up"]) == (words[0], 40, 0, True)
    rows = rows_of(here / "out.csv")
    assert list(rows[0]) == ["id", "maker", "text", *columns, "_status", "_error"]
    assert [row["text"] for row in rows] == TEXTS
    assert all(row[column] for row in rows for column in columns)


def test_vectors_go_into_parquet_as_they_are_asked_for(here, asked):
    parquet = pytest.importorskip("pyarrow.parquet")
    asked("embed", "-c", "text", "--dimensions", "8", "--dtype", "float16", "-o", "out.parquet")
    table = parquet.read_table(here / "out.parquet")
    assert table["text"].to_pylist() == TEXTS
    assert table.schema.field("embedding").type.value_type == "halffloat"
    assert {len(vector) for vector in table["embedding"].to_pylist()} == {8}


def test_a_report_is_a_document_for_each_group_or_a_row(here, asked):
    (here / "report.md.j2").write_text("# {{ maker }}\n\n{{ answer }}\n\n{{ rows | length }} rows\n")
    words = ("report", "--group-by", "maker", "--template", "report.md.j2", "-p", "{{ rows | json_lines }}")
    assert asked(*words, "-o", "reports/")["rows"] == 3
    documents = sorted(path.name for path in (here / "reports").iterdir())
    assert documents == ["index.csv", "maker-0.md", "maker-1.md", "maker-2.md"]
    said = (here / "reports" / "maker-1.md").read_text()
    assert said.startswith("# maker 1\n")
    assert said.endswith("13 rows\n")
    asked(*words, "-o", "reports.csv")
    assert [row["maker"] for row in rows_of(here / "reports.csv")] == ["maker 0", "maker 1", "maker 2"]


def test_what_the_small_model_is_not_sure_of_goes_to_the_big_one_and_nothing_else(here, server):
    def run(*words: str) -> Any:
        labels = ("-c", "text", "--labels", "good,bad,neutral", "--confidence", "-m", "small")
        command = ran(here, "classify", "rows.csv", *labels, *words, "--server", server.url, "--quiet")
        assert command.code == 0, command.stderr
        return command.json

    run("-o", "alone.csv")
    alone = rows_of(here / "alone.csv")
    unsure = [number for number, row in enumerate(alone) if float(row["confidence"]) < 0.5]
    assert 0 < len(unsure) < len(alone)

    told = run("--min-confidence", "0.5", "--escalate", "big", "-o", "both.csv", "--data", "cascade")
    assert told["rounds"] == ["first", "escalate"]
    assert told["answered"] == len(alone)
    results = bulkrate.Job.from_id(told["job"], data=here / "cascade").result()
    assert [each.index for each in results if each.model == "big"] == unsure
    assert [each.index for each in results if each.attempts == 2] == unsure
    both = rows_of(here / "both.csv")
    assert [each.value for each in results] == [row["label"] for row in both]
    assert [each.confidence for each in results] == [float(row["confidence"]) for row in both]
    assert [number for number, row in enumerate(both) if row != alone[number]] == unsure


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("classify", "-c", "text", "--labels", "good"), "at least two labels"),
        (("classify", "-c", "txt", "--labels", "good,bad"), "'text'"),
        (("classify", "-c", "text", "--labels", "a,b", "--min-confidence", "0.5"), "--confidence"),
        (("classify", "-c", "text", "--labels", "a,b", "--min-confidence", "5"), "--min-confidence"),
        (("embed", "-c", "text", "--dtype", "float8"), "float32"),
        (("extract", "-c", "text"), "schema"),
        (("extract", "-c", "text", "--schema", "no.json"), "no.json"),
        (("translate", "-c", "text"), "language"),
        (("report", "-p", "{{ rows }}", "-o", "out/"), "group"),
        (("summarize", "-c", "text", "--answer", "maker"), "--answer"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_what_does_not_fit_is_told_in_flags_before_anything_is_sent(typed, here, server, words, says):
    recipe, *rest = words
    refused = typed(recipe, here / "rows.csv", *rest, "--server", server.url, "-m", "small", "--quiet")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert says in refused.stderr

"""What a program calls: each recipe gives what it says, whatever the rows come in."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

import bulkrate
from bulkrate.errors import ConfigError, RecipeError, SinkError

TEXTS = [f"text {number}" for number in range(6)]
ROWS = [{"n": number, "maker": "ab"[number % 2], "text": text} for number, text in enumerate(TEXTS)]
LABELS = ("good", "bad", "neutral")


@pytest.fixture
def here(tmp_path, server) -> dict[str, Any]:
    """A state folder of the test's own, on the server that tests share."""
    return {"data": tmp_path / "state", "server": server.url, "model": "m", "progress": False}


def of_polars(_: Path) -> Any:
    return pytest.importorskip("polars").DataFrame(ROWS)


def of_pandas(_: Path) -> Any:
    return pytest.importorskip("pandas").DataFrame(ROWS)


def of_arrow(_: Path) -> Any:
    return pytest.importorskip("pyarrow").Table.from_pylist(ROWS)


def of_lines(folder: Path) -> Path:
    path = folder / "rows.jsonl"
    path.write_bytes(b"\n".join(map(msgspec.json.encode, ROWS)))
    return path


def of_database(folder: Path) -> str:
    with closing(sqlite3.connect(folder / "rows.db")) as database:
        database.execute("CREATE TABLE rows (n INTEGER, maker TEXT, text TEXT)")
        database.executemany("INSERT INTO rows VALUES (:n, :maker, :text)", ROWS)
        database.commit()
    return f"sqlite:///{folder / 'rows.db'}#rows"


KINDS = {
    "list": lambda _: ROWS,
    "iterator": lambda _: iter(ROWS),
    "polars": of_polars,
    "pandas": of_pandas,
    "arrow": of_arrow,
    "path": of_lines,
    "text of a path": lambda folder: str(of_lines(folder)),
    "database": of_database,
}


@pytest.fixture(scope="module")
def labels(tmp_path_factory, server) -> list[str]:
    """What the rows are labelled, however they come."""
    where = {"data": tmp_path_factory.mktemp("labels"), "server": server.url, "model": "m", "progress": False}
    return bulkrate.classify(TEXTS, labels=LABELS, **where).result().values


@pytest.mark.parametrize("kind", KINDS)
def test_rows_may_come_in_anything_and_keep_their_columns(here, tmp_path, labels, kind):
    job = bulkrate.classify(KINDS[kind](tmp_path), column="text", labels=list(LABELS), **here)
    results = job.result()
    assert [result.value for result in results] == results.values == labels
    assert [result.row for result in results] == ROWS
    told = job.to_arrow()
    assert told.column_names == ["n", "maker", "text", "label", "_status", "_error"]
    assert told["n"].to_pylist() == list(range(6))
    assert told["label"].to_pylist() == labels


def test_a_label_stays_a_label_and_how_sure_it_is_stands_beside_it(here):
    job = bulkrate.classify(TEXTS, labels=LABELS, confidence=True, **here)
    for result in job.result():
        assert result.value in LABELS
        assert 0 <= result.confidence <= 1
    assert job.to_arrow().column_names == ["text", "label", "confidence", "_status", "_error"]
    named = bulkrate.classify(TEXTS, labels=LABELS, confidence=True, answer="mood", **here)
    assert set(named.result().values) <= set(LABELS)
    assert named.to_arrow().column_names == ["text", "mood", "mood_confidence", "_status", "_error"]
    plain = bulkrate.classify(TEXTS, labels=LABELS, **here)
    assert [result.confidence for result in plain.result()] == [None] * 6


def test_a_vector_is_a_list_of_numbers(here):
    job = bulkrate.embed(ROWS, column="text", dimensions=8, normalise=True, **here)
    for result in job.result():
        assert len(result.value) == 8
        assert sum(number * number for number in result.value) == pytest.approx(1, abs=1e-3)
    assert job.to_arrow().column_names[3] == "embedding"


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"item": str, "count": int}, {"item": str, "count": int}),
        ({"type": "object", "properties": {"tags": {"type": "array", "items": {"type": "string"}}}}, list),
    ],
)
def test_fields_are_columns_and_several_are_a_dict(here, schema, value):
    job = bulkrate.extract(ROWS, column="text", schema=schema, **here)
    names = job.to_arrow().column_names[3:-2]
    for found in job.result().values:
        if isinstance(value, dict):
            assert {name: type(cell) for name, cell in found.items()} == value
            assert names == list(value)
        else:
            assert isinstance(found, value)
            assert names == ["tags"]


def test_a_question_a_summary_and_a_translation_are_texts(here):
    for job, column in (
        (bulkrate.map(ROWS, prompt="What of {{ text }}?", answer="said", **here), "said"),
        (bulkrate.summarize(ROWS, column="text", words=5, **here), "summary"),
        (bulkrate.translate(ROWS, column="text", to="German", **here), "translation"),
    ):
        assert isinstance(job, bulkrate.Job)
        assert all(isinstance(value, str) and value for value in job.result().values)
        assert job.to_arrow().column_names[3] == column


def test_a_report_is_written_for_each_group(here, tmp_path):
    asked = {"group_by": "maker", "prompt": "{{ rows | json_lines }}"}
    folder = bulkrate.report(
        ROWS, output=tmp_path / "reports", template="# {{ maker }}\n{{ answer }}", **asked, **here
    )
    assert len(folder.result()) == 2
    assert sorted(path.name for path in (tmp_path / "reports").iterdir()) == ["a.md", "b.md", "index.csv"]
    bulkrate.report(ROWS, output=tmp_path / "reports.jsonl", **asked, **here).wait()
    lines = (tmp_path / "reports.jsonl").read_bytes().splitlines()
    assert [msgspec.json.decode(line)["maker"] for line in lines] == ["a", "b"]


def test_the_result_is_also_written_where_it_is_asked_for_and_nothing_is_overwritten_unasked(here, tmp_path):
    out = tmp_path / "out.jsonl"
    asked = {"prompt": "{{ text }}", "output": out, **here}
    values = bulkrate.map(ROWS, **asked).result().values
    assert [msgspec.json.decode(line)["answer"] for line in out.read_bytes().splitlines()] == values
    with pytest.raises(SinkError, match=r"another output=, or write over it with overwrite=True$"):
        bulkrate.map(ROWS[:2], **asked)
    bulkrate.map(ROWS[:2], overwrite=True, **asked).wait()
    assert len(out.read_bytes().splitlines()) == 2


def test_models_are_chosen_by_rule_by_column_and_for_all(here):
    rows = [{"text": "a", "who": "own"}, {"text": "b", "who": None}, {"text": "c", "who": "own"}]
    job = bulkrate.map(rows, prompt="{{ text }}", rules=[("text", "c", "ruled")], model_column="who", **here)
    assert [result.model for result in job.result()] == ["own", "m", "ruled"]


def test_only_so_many_rows_are_taken_and_empty_ones_are_not_sent(here, tmp_path):
    assert len(bulkrate.map(of_lines(tmp_path), prompt="{{ text }}", limit=2, **here).result()) == 2
    results = bulkrate.map([{"text": "a"}, {"text": " "}], prompt="{{ text }}", **here).result()
    assert [(result.ok, result.skipped) for result in results] == [(True, False), (False, True)]
    assert results.values[1] is None
    assert results.failed == []


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"promt": "{{ text }}"}, RecipeError, "no argument 'promt'; did you mean 'prompt'"),
        ({"overwite": True}, RecipeError, "did you mean 'overwrite'"),
        ({"colour": "red"}, RecipeError, "it takes prompt, system, .*model"),
        ({"limit": "many"}, RecipeError, r"argument does not fit: .*limit"),
        ({"answer": "text"}, RecipeError, r"name another for them with answer=$"),
        ({"min_confidence": 0.5}, RecipeError, r"^min_confidence= .*confidence=True.*params="),
        ({"min_confidence": 0.5, "params": {"logprobs": False}}, RecipeError, r"^min_confidence= "),
        ({"upstream": "sandbox"}, ConfigError, "^server and upstream are two places"),
        ({"server": None, "upstream": "nonsense"}, ConfigError, "^upstream='nonsense' is no address"),
        ({"config": "no.toml"}, ConfigError, "name another with config=$"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_does_not_fit_is_told_in_arguments(here, options, error, says):
    with pytest.raises(error, match=says) as told:
        bulkrate.map(ROWS, **{"prompt": "{{ text }}"} | here | options).wait()
    assert "--" not in str(told.value)


def test_what_to_do_with_a_job_is_told_as_methods(here):
    job = bulkrate.map(["a", "b [[sandbox:status=400]]"], **here)
    job.wait()
    assert f"Job.from_id('{job.id}').retry_failed()" in repr(job)
    assert "bulkrate retry" not in repr(job)

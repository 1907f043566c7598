from __future__ import annotations

import csv
import tracemalloc
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.errors import RecipeError, SinkError, SourceError
from bulkrate.toolkit.questions.asking import Asking
from bulkrate.toolkit.recipes import grouping, recipe_of
from bulkrate.toolkit.recipes.base import Invalid, Value
from bulkrate.toolkit.recipes.grouping import Groups
from bulkrate.toolkit.recipes.report_folder import ReportFolder, file_stem
from bulkrate.toolkit.rows.table import Column, Row, Table
from tests.toolkit.recipes.answers import chat

GROUP: Row = {"company": "Acme", "rows": [{"month": 1, "sales": 5}, {"month": 2, "sales": None}]}
TABLE = Table(columns=(Column(name="company"), Column(name="rows", kind="json"), Column(name="report")))


class Listed:
    """Rows from anything that can be walked through again."""

    name = "a list"
    columns = None
    arrow = None
    length = None

    def __init__(self, rows: Any) -> None:
        self._rows = rows

    def mark(self) -> str | None:
        return "mark"

    def rows(self) -> Iterator[Row]:
        yield from self._rows() if callable(self._rows) else self._rows


def test_the_usual_prompt_tells_the_group_and_its_rows() -> None:
    body = msgspec.json.decode(recipe_of(Asking(recipe="report", group_by=("company",))).body([GROUP], "m"))
    assert body["messages"][1]["content"] == (
        'Write a short report about {"company":"Acme"}, from these 2 records (JSON, one on each line):\n\n'
        '{"month":1,"sales":5}\n{"month":2,"sales":null}'
    )


def test_the_document_is_the_answer_or_the_template_around_it() -> None:
    plain = Asking(recipe="report", group_by=("company",))
    assert recipe_of(plain).read(chat("It went well."), [GROUP]) == [Value(cells={"report": "It went well."})]
    template = (
        "# {{ company }} ({{ group.company }})\n{{ answer }}\n"
        "{% for row in rows %}\n| {{ row.month }} | {{ row.sales }} |\n{% endfor %}\n"
    )
    laid_out = Asking(recipe="report", group_by=("company",), template=template, answer="page")
    assert recipe_of(laid_out).read(chat("It went well."), [GROUP]) == [
        Value(cells={"page": "# Acme (Acme)\nIt went well.\n| 1 | 5 |\n| 2 |  |\n"})
    ]


def test_with_a_schema_the_template_sees_an_object() -> None:
    schema = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}
    asking = Asking(recipe="report", group_by=("company",), schema=schema, template="# {{ answer.title }}")
    recipe = recipe_of(asking)
    assert recipe.read(chat('{"title":"Up"}'), [GROUP]) == [Value(cells={"report": "# Up"})]
    assert recipe.read(chat("{}"), [GROUP]) == [Invalid(fault='"title" is a required property', text="{}")]
    bare = recipe_of(msgspec.structs.replace(asking, template=None))
    assert bare.read(chat('{"title":"Up"}'), [GROUP]) == [Value(cells={"report": '{\n  "title": "Up"\n}'})]
    broken = recipe_of(msgspec.structs.replace(asking, template="{{ answer.titel }}"))
    (reading,) = broken.read(chat('{"title":"Up"}'), [GROUP])
    assert isinstance(reading, Invalid)
    assert "cannot be laid out" in reading.fault


def test_groups_come_in_the_order_of_the_source_each_with_its_rows(tmp_path: Path) -> None:
    rows = [
        {"a": "x", "b": 1, "n": Decimal("1.5")},
        {"a": "y", "b": 1, "n": date(2026, 1, 2)},
        {"a": "x", "b": "1", "n": "\ud800"},
        {"a": "x", "b": 1, "n": None},
        {"a": None, "b": 1, "n": 5},
    ]
    groups = Groups(Listed(rows), ["a", "b"], folder=tmp_path)
    assert [column.name for column in groups.columns] == ["a", "b", "rows"]
    assert groups.mark() == "mark"
    assert list(groups.rows()) == [
        {"a": "x", "b": 1, "rows": [{"a": "x", "b": 1, "n": 1.5}, {"a": "x", "b": 1, "n": None}]},
        {"a": "y", "b": 1, "rows": [{"a": "y", "b": 1, "n": "2026-01-02"}]},
        {"a": "x", "b": "1", "rows": [{"a": "x", "b": "1", "n": "\ufffd"}]},
        {"a": None, "b": 1, "rows": [{"a": None, "b": 1, "n": 5}]},
    ]
    assert list(groups.rows()) == list(groups.rows())
    assert list(tmp_path.iterdir()) == []


def test_groups_that_are_no_longer_wanted_leave_nothing(tmp_path: Path) -> None:
    walk = Groups(Listed([{"a": 1}, {"a": 2}]), ["a"], folder=tmp_path).rows()
    next(walk)
    assert list(tmp_path.iterdir())
    walk.close()  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == []


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers())))
def test_no_row_is_lost_by_grouping(pairs: list[tuple[str, int]]) -> None:
    groups = list(Groups(Listed([{"k": key, "n": n} for key, n in pairs]), ["k"]).rows())
    assert [group["k"] for group in groups] == list(dict.fromkeys(key for key, _ in pairs))
    for group in groups:
        assert [row["n"] for row in group["rows"]] == [n for key, n in pairs if key == group["k"]]


def test_grouping_holds_one_group_in_memory_and_not_the_source() -> None:
    def rows() -> Iterator[Row]:
        return ({"k": number % 2_000, "text": "x" * 1_000} for number in range(20_000))

    tracemalloc.start()
    try:
        assert sum(len(group["rows"]) for group in Groups(Listed(rows), ["k"]).rows()) == 20_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000  # the rows are 20 MB


def test_a_group_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping, "GROUP_BYTES_MAX", 1 << 20)
    rows = ({"k": 1, "text": "x" * 100_000} for _ in range(20))
    with pytest.raises(SourceError, match="more than 1 MB of rows"):
        list(Groups(Listed(rows), ["k"]).rows())


def test_a_row_without_the_column_is_refused() -> None:
    with pytest.raises(RecipeError, match="group_by asks for column 'k'"):
        list(Groups(Listed([{"K": 1}]), ["k"]).rows())


def written(folder: Path, *names: str | None, overwrite: bool = False) -> ReportFolder:
    sink = ReportFolder(folder, by=["company"], overwrite=overwrite)
    sink.open(TABLE)
    sink.write([{"company": name, "rows": [], "report": f"about {name}"} for name in names])
    return sink


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_gets_one_file_a_group_and_an_index(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "reports"
    sink = written(folder, "Acme & Co.", "acme / co", "Acme-Co", None)
    sink.write([{"company": "Failed", "rows": [], "report": None}])
    assert not folder.exists()
    sink.commit()
    assert names_in(folder) == [
        "Acme-Co-2.md", "Acme-Co.md", "acme-co.md", "group.md", "index.csv",
    ]  # fmt: skip
    with (folder / "index.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [
            ["company", "file"],
            ["Acme & Co.", "Acme-Co.md"],
            ["acme / co", "acme-co.md"],
            ["Acme-Co", "Acme-Co-2.md"],
            ["", "group.md"],
            ["Failed", ""],
        ]
    assert (folder / "Acme-Co.md").read_text() == "about Acme & Co.\n"
    assert names_in(folder.parent) == ["reports"]


def test_what_is_there_stays_until_the_new_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "reports"
    written(folder, "old").commit()
    with pytest.raises(SinkError, match="not empty"):
        written(folder, "new")
    sink = written(folder, "new", overwrite=True)
    assert (folder / "old.md").exists()
    sink.discard()
    sink.discard()
    assert names_in(folder) == ["index.csv", "old.md"]
    written(folder, "new", overwrite=True).commit()
    assert names_in(folder) == ["index.csv", "new.md"]
    assert names_in(tmp_path) == ["reports"]


def test_a_death_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "reports"
    written(folder, "old").commit()
    written(folder, "new", overwrite=True)._index.close()  # type: ignore[union-attr]
    folder.rename(tmp_path / ".reports.old")  # as the process left it
    sink = written(folder, "newer", overwrite=True)
    assert names_in(folder) == ["index.csv", "old.md"]
    sink.commit()
    assert names_in(folder) == ["index.csv", "newer.md"]
    assert names_in(tmp_path) == ["reports"]


def test_a_folder_that_cannot_be_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(SinkError):
            written(folder, "a")
    with pytest.raises(SinkError, match="there is no column 'company'"):
        ReportFolder(tmp_path / "x", by=["company"]).open(Table(columns=(Column(name="report"),)))


@pytest.mark.parametrize(
    ("group", "stem"),
    [
        (["../../etc/passwd"], "etc-passwd"),
        (["a", 1], "a-1"),
        (["CON"], "CON_"),
        (["com1.txt"], "com1.txt_"),
        ([None], "group"),
        ([".hidden"], "hidden"),
        (["Zürich"], "Zürich"),
        (["x" * 500], "x" * 120),
        (["\ud800"], "group"),
    ],
)
def test_a_file_name_is_safe_everywhere(group: list[Any], stem: str) -> None:
    assert file_stem(group) == stem


@given(st.lists(st.none() | st.text() | st.integers() | st.floats() | st.booleans(), min_size=1))
def test_any_group_has_a_file_name(group: list[Any]) -> None:
    stem = file_stem(group)
    assert stem == stem.strip("-.")
    assert 0 < len(stem.encode()) <= 121
    assert not set(stem) & set('/\\:*?"<>|\0')

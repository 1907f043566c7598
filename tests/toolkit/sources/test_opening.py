"""From what a person names to rows: files, folders, patterns, standard input."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest

from bulkrate.errors import SourceError
from bulkrate.toolkit.sources import open_source


def _fill(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_text(content)
    return folder


def test_a_folder_is_read_file_by_file_in_the_order_of_names(tmp_path):
    folder = _fill(tmp_path / "reviews", b_csv="id\n3\n", a_csv="id\n1\n2\n")
    (folder / ".hidden").write_text("x")
    (folder / "_SUCCESS").write_text("")
    (folder / "2026").mkdir()
    (folder / "2026" / "c.csv").write_text("id\n0\n")
    source = open_source(folder)
    assert [row["id"] for row in source.rows()] == ["0", "1", "2", "3"]
    assert source.name == f"{folder} (3 files)"


def test_a_pattern_takes_the_files_that_fit(tmp_path):
    folder = _fill(tmp_path, a1_csv="id\n1\n", a2_csv="id\n2\n", b_csv="id\n3\n")
    assert [row["id"] for row in open_source(f"{folder}/a*.csv").rows()] == ["1", "2"]


def test_a_file_named_like_a_pattern_is_that_file(tmp_path):
    (tmp_path / "a[1].csv").write_text("id\n1\n")
    assert list(open_source(str(tmp_path / "a[1].csv")).rows()) == [{"id": "1"}]


def test_files_of_other_columns_are_refused_by_name(tmp_path):
    folder = _fill(tmp_path, a_csv="id,text\n1,x\n", b_csv="id,body\n1,x\n")
    with pytest.raises(SourceError, match=r"b\.csv has the columns id, body, but .*a\.csv has id, text"):
        open_source(folder)


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("nowhere.csv", "nowhere.csv does not exist"),
        ("a*.csv", "no file fits"),
        ("empty", "holds no files"),
        ("t.xlsx", r"its name should end in one of \.csv"),
        ("t", "its name should end in one of"),
    ],
)
def test_what_cannot_be_read_says_what_can(tmp_path, monkeypatch, what, says):
    monkeypatch.chdir(_fill(tmp_path, t_xlsx="", t=""))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=says):
        open_source(what)


def test_a_format_can_be_told(tmp_path):
    (tmp_path / "t.txt").write_text('{"a": 1}\n')
    assert list(open_source(tmp_path / "t.txt", format="jsonl").rows()) == [{"a": 1}]
    with pytest.raises(SourceError, match="format 'xls' is not known; there are csv"):
        open_source(tmp_path / "t.txt", format="xls")


def test_the_mark_changes_with_the_file(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a\n1\n")
    before, limited = open_source(path).mark(), open_source(path, limit=1).mark()
    assert before == open_source(path).mark() != limited
    path.write_text("a\n1\n2\n")
    assert open_source(path).mark() != before
    assert open_source(tmp_path / "*.csv").mark() == open_source(path).mark()
    (tmp_path / "u.csv").write_text("a\n1\n")
    folder = open_source(tmp_path).mark()
    (tmp_path / "u.csv").unlink()
    assert open_source(tmp_path).mark() != folder


def test_a_limit_takes_the_first_rows(tmp_path):
    source = open_source([{"n": n} for n in range(10)], limit=3)
    assert [row["n"] for row in source.rows()] == [0, 1, 2]
    assert source.length == 3
    with pytest.raises(SourceError, match="leaves none"):
        open_source([], limit=0)


def test_a_query_needs_a_database(tmp_path):
    (tmp_path / "t.csv").write_text("a\n")
    with pytest.raises(SourceError, match=r"a query was given, but .* is no database"):
        open_source(tmp_path / "t.csv", query="select 1")
    with pytest.raises(SourceError, match="a table was given, but list is no database"):
        open_source([], table="t")


class _Stdin:
    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b"id,text\n1,a\n", [{"id": "1", "text": "a"}]),
        (b'\xef\xbb\xbf {"id": 1}\n', [{"id": 1}]),
        (b' [{"id": 1}, {"id": 2}]', [{"id": 1}, {"id": 2}]),
        (b"text\n" + b"line\n" * 1_000_000, [{"text": "line"}] * 1_000_000),
    ],
)
def test_standard_input_is_known_by_how_it_begins(monkeypatch, content, rows):
    monkeypatch.setattr(sys, "stdin", _Stdin(content))
    source = open_source("-")
    assert source.name == "standard input"
    assert source.mark() is None
    assert list(source.rows()) == rows
    with pytest.raises(SourceError, match="only once"):
        list(source.rows())


def test_standard_input_is_read_from_a_pipe():
    program = (
        "from bulkrate.toolkit.sources import open_source; print(list(open_source('-', format='csv').rows()))"
    )
    run = subprocess.run([sys.executable, "-c", program], input=b"a\n1\n", capture_output=True, check=True)
    assert run.stdout == b"[{'a': '1'}]\n"


def test_reading_text_imports_no_table_library(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"a": 1}\n')
    program = (
        "import sys; from bulkrate.toolkit.sources import open_source;"
        "from bulkrate.toolkit.sinks import open_sink;"
        f"list(open_source({str(tmp_path / 't.jsonl')!r}).rows()); list(open_source([dict(a=1)]).rows());"
        f"open_sink({str(tmp_path / 'o.csv')!r});"
        "print([name for name in ('pyarrow', 'pandas', 'polars', 'duckdb') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert json.loads(run.stdout.replace(b"'", b'"')) == []


def test_a_missing_library_names_its_extra(tmp_path, monkeypatch):
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    for module in ("pyarrow", "pyarrow.fs"):
        monkeypatch.setitem(sys.modules, module, None)
    for what in (tmp_path / "t.parquet", "s3://bucket/t.csv"):
        with pytest.raises(SourceError, match=r'pip install "bulkrate\[tables\]"'):
            open_source(what)

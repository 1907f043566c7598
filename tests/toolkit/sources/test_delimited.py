"""CSV and TSV as people have them: quotes, byte order marks, wrong encodings, ragged rows."""

from __future__ import annotations

import csv
import gzip
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.errors import SourceError
from bulkrate.toolkit.sources import open_source
from tests.toolkit.cellular import TEXTS


def _rows(path, content: bytes | str):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    source = open_source(path)
    return [column.name for column in source.columns], list(source.rows())


@given(
    table=st.integers(1, 4).flatmap(
        lambda width: st.lists(st.lists(TEXTS, min_size=width, max_size=width), min_size=1, max_size=8)
    ),
    ends=st.sampled_from(["\n", "\r\n"]),
)
def test_whatever_the_csv_module_writes_is_read_back(tmp_path_factory, table, ends):
    names = [f"column {number}" for number in range(len(table[0]))]
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=ends, quoting=csv.QUOTE_ALL).writerows([names, *table])
    found, rows = _rows(tmp_path_factory.mktemp("csv") / "t.csv", text.getvalue())
    assert found == names
    assert rows == [dict(zip(names, row, strict=True)) for row in table]


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path):
    assert _rows(tmp_path / "t.csv", b"\xef\xbb\xbfid,text\n1,caf\xc3\xa9\n") == (
        ["id", "text"],
        [{"id": "1", "text": "café"}],
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "id;text\n1;a, b\n"),
        ("t.csv", 'id\ttext\n1\t"a, b"\n'),
        ("t.tsv", "id\ttext\n1\ta, b\n"),
        ("t.tsv", 'id\ttext\n\n1\t"a, b"'),
    ],
)
def test_what_separates_the_names_separates_the_cells(tmp_path, name, content):
    assert _rows(tmp_path / name, content) == (["id", "text"], [{"id": "1", "text": "a, b"}])


def test_an_empty_cell_is_an_empty_text(tmp_path):
    assert _rows(tmp_path / "t.csv", 'a,b\n,""\n')[1] == [{"a": "", "b": ""}]


def test_a_cell_of_five_megabytes_is_read(tmp_path):
    cell = "Ünïcode, quoted \n" * 300_000
    assert _rows(tmp_path / "t.csv", f'id,text\n1,"{cell}"\n')[1] == [{"id": "1", "text": cell}]


def test_a_header_alone_is_a_table_without_rows(tmp_path):
    assert _rows(tmp_path / "t.csv", "a,b\n") == (["a", "b"], [])


def test_packed_files_are_read(tmp_path):
    assert _rows(tmp_path / "t.csv.gz", gzip.compress(b"a\n1\n"))[1] == [{"a": "1"}]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "t.csv is empty; its first line must name the columns"),
        (b"\n\n", "t.csv is empty"),
        (b"a,,c\n", "column 2 of 3 has no name"),
        (b"a,b,a\n", "two columns are named 'a'"),
        (b"a,b\n1,2\n1\n", "line 3: 1 cells, but the header has 2"),
        (b'a,b\n"1\n2",2\n1,2,3\n', "line 4: 3 cells, but the header has 2"),
        (b"a,b\n1,2\n1,caf\xe9\n", "line 3: byte 0xe9 is no UTF-8"),
        (b"caf\xe9,b\n", "line 1: byte 0xe9"),
        ("a,b\n1,2\n".encode("utf-16"), "is UTF-16; save it as UTF-8"),
        (b'a,b\n1,2\n1,"2\n3,4\n', "begins in line 3 is no CSV: unexpected end of data"),
        (b'a,b\n1,"2"3\n', "begins in line 2 is no CSV"),
        (b"a,b\r1,2\r", "begins in line 1 is no CSV: new-line"),
        (b"PAR1....", "is no text, but a table or an archive"),
    ],
)
def test_bad_input_is_named_with_its_line(tmp_path, content, says):
    with pytest.raises(SourceError, match=says):
        _rows(tmp_path / "t.csv", content)


def test_a_damaged_archive_is_named(tmp_path):
    packed = gzip.compress(b"a,b\n" + b"1,2\n" * 10_000)
    with pytest.raises(SourceError, match=r"t\.csv\.gz is cut short or damaged"):
        _rows(tmp_path / "t.csv.gz", packed[:-10])
    with pytest.raises(SourceError, match=r"t\.csv\.gz is cut short or damaged"):
        _rows(tmp_path / "t.csv.gz", b"a,b\n")


def test_no_error_repeats_a_cell(tmp_path):
    for name, content in (("t.csv", "a,b\nsecret\n"), ("t.csv", 'a,b\n1,"secret"x\n'), ("t.jsonl", "secret")):
        (tmp_path / name).write_text(content)
        with pytest.raises(SourceError) as raised:
            list(open_source(tmp_path / name).rows())
        assert "secret" not in str(raised.value)

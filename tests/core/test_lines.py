"""Cutting bytes into lines: whatever the chunks, the same lines, each where it really stands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.core.lines import BOM, LineCutter, RawLine

BLANKS = b" \t\r"
ENOUGH = 1_000


def cut(chunks, line_bytes_max: int = ENOUGH) -> list[RawLine]:
    cutter = LineCutter(line_bytes_max)
    lines = [line for chunk in chunks for line in cutter.feed(chunk)]
    return lines + list(cutter.finish())


def reference(data: bytes) -> list[tuple[int, bytes]]:
    """Line number and text of every line that is not blank, read the simple way."""
    texts = data.removeprefix(BOM).split(b"\n")
    return [(number, text.rstrip(BLANKS)) for number, text in enumerate(texts, 1) if text.strip(BLANKS)]


# Few different bytes, so that line ends, blanks and marks meet in every way.
pieces = st.sampled_from([b"a", b"{}", b"\n", b"\r\n", b"\r", b" ", b"\t", BOM, BOM[:1], b"\x00", b"\xff"])
files = st.builds(lambda mark, rest: mark + b"".join(rest), st.sampled_from([b"", BOM]), st.lists(pieces))
chunked = st.lists(st.one_of(st.binary(max_size=20), files))


@given(chunked)
def test_lines_are_the_same_however_the_file_is_cut_into_chunks(chunks):
    data = b"".join(chunks)
    assert cut(chunks) == cut([data])
    assert cut([data[i : i + 1] for i in range(len(data))]) == cut([data])


@given(chunked)
def test_lines_are_those_that_a_simple_split_gives(chunks):
    data = b"".join(chunks)
    assert [(line.number, line.data) for line in cut(chunks)] == reference(data)


@given(chunked)
def test_offset_and_length_point_at_the_text_of_the_line(chunks):
    data = b"".join(chunks)
    for line in cut(chunks):
        assert data[line.offset : line.offset + line.length] == line.data


@given(chunked, st.integers(1, 6))
def test_a_line_has_its_data_exactly_when_it_is_short_enough(chunks, line_bytes_max):
    data = b"".join(chunks)
    found = {line.number: line for line in cut(chunks, line_bytes_max)}
    for number, text in reference(data):
        line = found.pop(number)
        if line.data is None:
            assert line.length > line_bytes_max
        else:
            assert line.data == text
            assert len(text) <= line_bytes_max
        if len(text) > line_bytes_max:
            assert line.data is None
    # A line of blanks alone is skipped, unless it is longer than any line may be.
    assert all(line.data is None and line.length > line_bytes_max for line in found.values())


@given(chunked, st.integers(1, 6))
def test_lines_with_a_limit_are_the_same_however_the_file_is_cut(chunks, line_bytes_max):
    data = b"".join(chunks)
    assert cut(chunks, line_bytes_max) == cut([data], line_bytes_max)


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"\n\n \r\n\t\n", []),
        (b"a", [(1, 0, b"a")]),
        (b"a\n", [(1, 0, b"a")]),
        (b"a\r\nb\r\n", [(1, 0, b"a"), (2, 3, b"b")]),
        (b"\n\na\n\nb", [(3, 2, b"a"), (5, 5, b"b")]),
        (BOM + b"a\nb", [(1, 3, b"a"), (2, 5, b"b")]),
        (BOM, []),
        (b"a\n" + BOM + b"b", [(1, 0, b"a"), (2, 2, BOM + b"b")]),  # only at the very start is it a mark
        (b"  a \t\r\n", [(1, 0, b"  a")]),
        (b"a\rb\n", [(1, 0, b"a\rb")]),  # a lone CR ends no line
    ],
)
def test_marks_blanks_and_line_ends(data, lines):
    assert [(line.number, line.offset, line.data) for line in cut([data])] == lines


@pytest.mark.parametrize("before", [b"", BOM], ids=["plain", "marked"])
@pytest.mark.parametrize("behind", [b"", b"\n", b"\r\n", b" \r\n"], ids=repr)
def test_neither_the_mark_nor_the_line_end_counts_for_the_longest_line(before, behind):
    # A marked first line of exactly the longest length was once refused for its mark.
    (line,) = cut([before + b"x" * 10 + behind], 10)
    assert line.data == b"x" * 10
    (line,) = cut([before + b"x" * 11 + behind], 10)
    assert line.data is None


def test_a_line_that_is_too_long_is_told_with_its_length_and_the_next_one_is_fine():
    lines = cut([b"x" * 1_000, b"x" * 1_000, b"y\nab\n"], 10)
    assert lines == [RawLine(1, 0, 2_001, None), RawLine(2, 2_002, 2, b"ab")]


def test_an_endless_line_is_never_held_in_memory():
    cutter = LineCutter(100)
    for _ in range(1_000):
        assert list(cutter.feed(b"x" * 50)) == []
        assert len(cutter._tail) <= 200
    assert list(cutter.finish()) == [RawLine(1, 0, 50_000, None)]

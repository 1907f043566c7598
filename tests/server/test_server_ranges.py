"""Ranges, after RFC 9110."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.errors import RangeNotSatisfiable
from bulkrate.server.ranges import Span, span_of


@pytest.mark.parametrize(
    ("header", "size", "span"),
    [
        ("bytes=0-3", 10, Span(0, 4)),
        ("bytes=9-9", 10, Span(9, 10)),
        ("bytes=5-", 10, Span(5, 10)),
        ("bytes=5-99", 10, Span(5, 10)),
        ("bytes=-3", 10, Span(7, 10)),
        ("bytes=-99", 10, Span(0, 10)),
        ("BYTES = 1 - 2", 10, Span(1, 3)),
    ],
)
def test_a_single_range_is_given(header, size, span):
    assert span_of(header, size) == span


@pytest.mark.parametrize(
    "header",
    [None, "", "junk", "bytes=", "bytes=-", "bytes=a-b", "bytes=3-1", "bytes=0-1,3-4", "lines=0-1",
     "bytes=٣-٤", "bytes=" + "9" * 5000 + "-"],
)  # fmt: skip
def test_what_is_not_a_single_range_means_everything(header):
    assert span_of(header, 10) is None


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=10-", 10), ("bytes=10-20", 10), ("bytes=0-", 0), ("bytes=-0", 10)]
)
def test_a_range_outside_is_refused(header, size):
    with pytest.raises(RangeNotSatisfiable):
        span_of(header, size)


@given(st.binary(min_size=1, max_size=50), st.integers(0, 49), st.integers(0, 80))
def test_ranges_cut_as_slices_do(content, first, last):
    first %= len(content)
    last = max(first, last)
    span = span_of(f"bytes={first}-{last}", len(content))
    assert content[span.start : span.end] == content[first : last + 1]


@given(st.binary(min_size=1, max_size=50), st.integers(1, 80))
def test_suffixes_cut_as_slices_do(content, count):
    span = span_of(f"bytes=-{count}", len(content))
    assert content[span.start : span.end] == content[-count:]

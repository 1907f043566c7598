"""What a `completion_window` stands for, and the last moment to send."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.core.deadline import stop_line, window_s


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("24h", 86_400),
        ("1h", 3_600),
        ("60m", 3_600),
        ("90m", 5_400),
        ("7d", 604_800),
        ("30d", 2_592_000),
        ("720h", 2_592_000),  # 30 days
        ("43200m", 2_592_000),
    ],
)
def test_a_window_is_a_number_and_a_unit(text, seconds):
    assert window_s(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "59m",
        "31d",
        "721h",
        "0h",
        "024h",
        "24",
        "h",
        "",
        "24H",
        "24 h",
        "24h\n",
        "-24h",
        "1.5h",
        "3600s",
        "2w",
        "٢٤h",
    ],
)
def test_anything_else_is_no_window(text):
    assert window_s(text) is None


@given(st.text() | st.from_regex(r"[0-9]{1,9}[mhds]"))
def test_a_window_is_from_one_hour_to_thirty_days_or_none(text):
    seconds = window_s(text)
    assert seconds is None or 3_600 <= seconds <= 2_592_000


@pytest.mark.parametrize(
    ("latency_s", "at"),
    [(0.0, 1_000.0), (2.5, 997.5), (60.0, 940.0), (600.0, 940.0)],  # 1000 - latency, at most a minute
)
def test_a_line_is_sent_as_long_as_its_answer_can_come_in_time(latency_s, at):
    assert stop_line(1_000.0, latency_s) == at

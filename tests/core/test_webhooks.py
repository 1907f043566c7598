"""When a webhook is sent again, and when it is given up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.core.webhooks import BACKOFF_S_MAX, GIVE_UP_AFTER_S, backoff_s, retry_at

HOUR = 3600.0


@pytest.mark.parametrize(
    ("attempt", "seconds"),
    [
        (1, 2.5),  # 5 * 0.5
        (2, 5.0),
        (3, 10.0),
        (12, 5_120.0),  # 10240 * 0.5
        (13, 2 * HOUR),  # capped: 4 h * 0.5
        (5_000, 2 * HOUR),
    ],
)
def test_the_wait_doubles_until_its_cap(attempt, seconds):
    assert backoff_s(attempt, jitter=0.5) == seconds


@given(attempt=st.integers(1, 10_000), jitter=st.floats(0, 1, exclude_max=True))
def test_no_wait_is_negative_or_beyond_the_cap(attempt, jitter):
    assert 0 <= backoff_s(attempt, jitter=jitter) <= BACKOFF_S_MAX


def test_jitter_reaches_from_nothing_to_the_whole_wait():
    assert backoff_s(4, jitter=0.0) == 0.0
    assert backoff_s(4, jitter=0.999) == pytest.approx(40.0, rel=0.01)


def test_a_try_within_three_days_is_followed_by_another():
    assert retry_at(1, created_at=1_000, now=1_000, jitter=0.5) == 1_002.5
    assert retry_at(40, created_at=0, now=71 * HOUR, jitter=0.1) == 257_040  # 71 h and 24 min


def test_no_try_is_set_later_than_three_days_after_the_event():
    assert retry_at(40, created_at=0, now=71 * HOUR, jitter=0.5) is None
    assert retry_at(1, created_at=0, now=GIVE_UP_AFTER_S + 1, jitter=0.0) is None

"""When to try again: by attempts that count, and by a wait that grows, is random and is bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.config import Retry
from bulkrate.core.retry import Budget, may_try_again, wait_s

RETRY = Retry(attempts_max=3, backoff_s_min=0.5, backoff_s_max=60.0, retry_after_s_max=100.0)


@pytest.mark.parametrize(
    ("tries", "jitter", "seconds"),
    [
        (1, 1.0, 1.0),  # 0.5 * 2
        (1, 0.0, 0.0),
        (1, 0.25, 0.25),
        (2, 1.0, 2.0),  # 0.5 * 4
        (6, 1.0, 32.0),  # 0.5 * 64
        (7, 1.0, 60.0),  # 64, capped
        (10_000, 0.5, 30.0),
        (0, 1.0, 1.0),  # as the first
    ],
)
def test_the_wait_doubles_until_its_cap(tries, jitter, seconds):
    assert wait_s(tries, RETRY, jitter=jitter) == seconds


@pytest.mark.parametrize(
    ("retry_after_s", "jitter", "seconds"),
    [
        (7.0, 0.0, 7.0),
        (7.0, 0.5, 7.35),  # 7 * 1.05
        (0.0, 0.9, 0.0),
        (86_400.0, 0.0, 100.0),  # cut: a confused upstream cannot park a batch
    ],
)
def test_an_upstreams_own_word_is_kept_to_and_spread_a_little(retry_after_s, jitter, seconds):
    assert wait_s(1, RETRY, jitter=jitter, retry_after_s=retry_after_s) == pytest.approx(seconds)


@given(st.integers(0, 10**6), st.floats(0, 1, exclude_max=True), st.none() | st.floats(0, 1e9))
def test_no_wait_is_longer_than_the_settings_say(tries, jitter, retry_after_s):
    wait = wait_s(tries, RETRY, jitter=jitter, retry_after_s=retry_after_s)
    assert 0 <= wait <= (60.0 if retry_after_s is None else 110.01)  # a tenth more, and rounding


@pytest.mark.parametrize("attempts", [0, 1, 2, 3, 4, 1_000])
def test_a_line_may_be_tried_until_its_attempts_are_used_up(attempts):
    assert may_try_again(attempts, RETRY) == (attempts < 3)


def test_retries_beyond_the_budget_wait_behind_fresh_lines():
    budget = Budget(0.2)
    assert budget.allows(now=0.0)
    for _ in range(100):
        budget.fresh()
    allowed = 0
    while budget.allows(now=0.0):
        budget.retried()
        allowed += 1
    assert 20 <= allowed <= 31


def test_a_budget_that_is_spent_comes_back_with_time():
    budget = Budget(0.2)
    while budget.allows(now=0.0):
        budget.retried()
    assert budget.allows(now=1.0)


def test_a_budget_does_not_grow_without_end():
    budget = Budget(0.0)
    allowed = 0
    while budget.allows(now=1e6):
        budget.retried()
        allowed += 1
    assert allowed <= 100

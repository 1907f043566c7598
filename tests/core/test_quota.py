"""Quotas: what headers tell is kept to, refusals stop the whole bucket, and nothing waits for ever."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.core.quota import Quota
from bulkrate.providers.ratelimits import Limit, RateLimits


def told(limit: int, remaining: int, reset_s: float | None = None) -> RateLimits:
    return RateLimits(requests=Limit(limit=limit, remaining=remaining, reset_s=reset_s))


def told_tokens(limit: int, remaining: int, reset_s: float | None = None) -> RateLimits:
    return RateLimits(tokens=Limit(limit=limit, remaining=remaining, reset_s=reset_s))


def test_a_quota_that_nobody_told_of_holds_nothing_back():
    quota = Quota()
    assert not quota.known
    assert quota.wait_s(10**9, now=0.0) == 0.0
    quota.heard(RateLimits(), now=0.0)
    assert not quota.known


def test_what_is_left_may_be_sent_at_once_and_the_rest_as_it_fills():
    quota = Quota()
    quota.heard(told(600, 3), now=0.0)  # 10 a second
    for _ in range(3):
        assert quota.wait_s(1, now=0.0) == 0.0
        quota.reserve(1, now=0.0)
    assert quota.wait_s(1, now=0.0) == pytest.approx(0.1)
    assert quota.wait_s(1, now=0.1001) == 0.0


def test_a_reset_tells_how_fast_a_bucket_fills():
    quota = Quota()
    quota.heard(told(100, 0, reset_s=10.0), now=0.0)  # all of it in 10 s
    assert quota.wait_s(1, now=0.0) == pytest.approx(0.1)


def test_tokens_that_were_not_needed_are_put_back():
    quota = Quota()
    quota.heard(told_tokens(6000, 1000), now=0.0)  # 100 a second
    quota.reserve(1000, now=0.0)
    assert quota.wait_s(800, now=0.0) == pytest.approx(8.0)
    quota.settle(1000, 200, now=0.0)
    assert quota.wait_s(800, now=0.0) == 0.0


def test_what_the_upstream_tells_does_not_know_of_what_was_sent_since():
    quota = Quota()
    quota.heard(told(100, 10), now=0.0)
    for _ in range(8):
        quota.reserve(1, now=0.0)
    quota.heard(told(100, 10), now=0.0)  # an answer to something older
    waits = []
    for _ in range(3):
        waits.append(quota.wait_s(1, now=0.0))
        quota.reserve(1, now=0.0)
    assert waits == [0.0, 0.0, pytest.approx(0.6)]  # 100 a minute


def test_an_attempt_larger_than_the_bucket_waits_for_a_full_one_and_no_longer():
    quota = Quota()
    quota.heard(told_tokens(6000, 0), now=0.0)
    assert quota.wait_s(50_000, now=0.0) == pytest.approx(60.0)
    assert quota.wait_s(50_000, now=60.0) == 0.0


def test_a_refusal_with_a_word_on_when_to_come_back_stops_the_whole_bucket():
    quota = Quota()
    quota.refused(7.0, now=100.0)
    assert quota.known
    assert quota.wait_s(1, now=100.0) == pytest.approx(7.0)
    assert quota.wait_s(1, now=107.0) == 0.0


def sent(quota: Quota, *, since: float, until: float) -> int:
    """How many attempts a sender who keeps to the quota gets through."""
    now, count = since, 0
    while (now := now + quota.wait_s(1, now=now)) < until:
        quota.reserve(1, now=now)
        count += 1
        now += 1e-6
    return count


def test_refusals_without_a_word_slow_it_down_once_an_episode_and_it_recovers():
    quota = Quota()
    quota.heard(told(600, 0), now=0.0)  # 10 a second
    for _ in range(50):
        quota.refused(None, now=0.0)
    assert quota.wait_s(1, now=0.0) == pytest.approx(13 / 7.5)  # 12 less than nothing was left
    assert 60 <= sent(quota, since=0.0, until=10.0) <= 75  # 0.75 of the pace, and a little recovered
    assert 295 <= sent(quota, since=300.0, until=330.0) - 600 <= 305  # a full bucket, and the full pace


moments = st.lists(
    st.tuples(
        st.sampled_from(["heard", "refused", "reserve", "settle"]),
        st.integers(0, 10_000),
        st.integers(0, 10_000),
        st.none() | st.floats(0, 3600),
        st.floats(0, 60),
    ),
    max_size=50,
)


@given(moments, st.integers(0, 100_000))
def test_whatever_happens_an_attempt_waits_at_most_a_minute_at_a_time_and_in_the_end_it_is_sent(
    happened, tokens
):
    quota = Quota()
    now = 0.0
    for what, a, b, seconds, later in happened:
        now += later
        if what == "heard":
            limit = Limit(limit=a, remaining=b, reset_s=seconds)
            quota.heard(RateLimits(requests=limit, tokens=limit), now=now)
        elif what == "refused":
            quota.refused(seconds, now=now)
        elif what == "reserve":
            quota.reserve(a, now=now)
        else:
            quota.settle(a, b, now=now)
        assert 0.0 <= quota.wait_s(tokens, now=now) <= 60.0
    for _ in range(100_000):
        wait_s = quota.wait_s(tokens, now=now)
        if wait_s == 0.0:
            break
        now += wait_s + 1e-6
    assert quota.wait_s(tokens, now=now) == 0.0

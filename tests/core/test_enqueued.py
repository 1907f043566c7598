"""The quota of enqueued tokens: a queue that is shared, and learnt where nobody tells."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bulkrate.core.enqueued import Quota, portion

NOW = 1_000.0


def refused(quota: Quota, *, enqueued: int = 0, asked: int = 100, **told) -> Quota:
    given = {"limit": None, "retry_after_s": None, "now": NOW, "jitter": 0.0}
    return quota.refused(enqueued=enqueued, asked=asked, **(given | told))


def may(quota: Quota, batch: str = "a", *, now: float = NOW, **enqueued: int):
    return portion(quota, batch, enqueued=enqueued, waiting={batch}, model="m", now=now)


def test_without_a_known_limit_anything_goes():
    assert may(Quota(), a=10**9).tokens is None


def test_nothing_is_tried_right_after_a_refusal_and_the_reason_is_told():
    quota = refused(Quota(), limit=900)
    found = may(quota)
    assert found.tokens == 0
    assert "asked again in 60 s" in found.why
    assert may(quota, now=NOW + 61).tokens == 225  # a quarter of 900
    assert may(quota.released()).tokens == 225


def test_what_was_said_when_nothing_was_taken_is_told_until_something_is():
    held = Quota().held(now=NOW, why="Your account is empty.")
    assert may(held).why == "Your account is empty; it is asked again in 60 s"
    full = refused(held, why="The queue is full")
    assert may(full).why == "The queue is full; it is asked again in 60 s"
    assert full.accepted(enqueued=1).why is None


def test_waits_grow_with_refusals_in_a_row_up_to_an_hour():
    quota, waits = Quota(), []
    for _ in range(9):
        quota = refused(quota, limit=900)
        waits.append(quota.not_before - NOW)
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    assert refused(quota.accepted(enqueued=1)).not_before - NOW == 60


def test_a_provider_that_says_when_to_come_back_is_believed():
    assert refused(Quota(), retry_after_s=5.0).not_before == NOW + 5


def test_what_the_provider_says_of_its_limit_is_believed():
    quota = refused(Quota(limit=10**6, told=True), limit=90_000)
    assert (quota.limit, quota.told) == (90_000, True)
    assert refused(quota).limit == 90_000
    assert quota.accepted(enqueued=80_000).limit == 90_000


def test_a_limit_that_nobody_tells_is_what_was_there_when_more_was_refused():
    quota = refused(Quota(), enqueued=500, asked=100)
    assert quota.limit == 500
    assert quota.accepted(enqueued=500).limit == 625


def test_a_quota_that_is_full_without_us_is_waited_for_before_groups_are_cut():
    quota = Quota()
    for _ in range(3):
        quota = refused(quota, enqueued=0, asked=100)
        assert quota.limit is None
    assert refused(quota, enqueued=0, asked=100).limit == 50


def test_what_was_learnt_is_recalled_for_a_day():
    given = Quota()
    quota = refused(given, limit=900).too_large(lines=50, now=NOW)
    assert (quota.limit, quota.lines_max) == (900, 25)
    assert quota.recalled(given, now=NOW + 86_400) == quota
    late = quota.recalled(given, now=NOW + 86_401)
    assert (late.limit, late.lines_max, late.refusals) == (None, None, 1)
    assert quota.recalled(given, now=NOW - 86_401).limit is None  # learnt by a wrong clock


def test_no_clock_makes_a_wait_longer_than_it_ever_is():
    quota = Quota(not_before=NOW + 10**9)
    assert quota.recalled(Quota(), now=NOW).not_before == NOW + 4_500


def test_a_limit_of_the_settings_is_never_exceeded():
    given = Quota(limit=500, told=True)
    assert refused(given, limit=900).recalled(given, now=NOW).limit == 500
    assert refused(given, limit=300).recalled(given, now=NOW).limit == 300
    assert refused(given, limit=300).recalled(given, now=NOW + 10**6) == Quota(
        limit=500, told=True, refusals=1, not_before=NOW + 60
    )
    untold = Quota(limit=500)
    assert refused(untold, limit=900).recalled(untold, now=NOW).limit == 900


def test_a_lesson_about_something_else_leaves_the_given_limit_in_force():
    kept = Quota(lines_max=25, learnt_at=NOW)
    assert kept.recalled(Quota(limit=500), now=NOW) == Quota(limit=500, lines_max=25, learnt_at=NOW)


def test_what_is_full_says_how_full():
    found = may(Quota(limit=1_000, told=True), b=1_000)
    assert found.tokens == 0
    assert "1,000 of 1,000 tokens" in found.why


def test_a_batch_that_comes_later_gets_its_half():
    quota = Quota(limit=1_000, told=True)
    first = portion(quota, "a", enqueued={"a": 500}, waiting={"a", "b"}, model="m", now=NOW)
    second = portion(quota, "b", enqueued={"a": 500}, waiting={"a", "b"}, model="m", now=NOW)
    assert first.tokens == 0
    assert second.tokens == 250


@given(
    limit=st.integers(1, 10_000),
    batches=st.integers(1, 6),
    sizes=st.lists(st.integers(1, 3_000), min_size=1, max_size=80),
)
def test_a_shared_quota_is_never_overrun_and_ends_up_shared(limit, batches, sizes):
    """Batches without an end take what they may, in turns: each gets the same, to within a group."""
    quota = Quota(limit=limit, told=True)
    names = [f"b{number}" for number in range(batches)]
    there = dict.fromkeys(names, 0)
    for turn, size in enumerate(sizes):
        name = names[turn % batches]
        taken = portion(quota, name, enqueued=there, waiting=set(names), model="m", now=NOW).tokens
        assert taken is not None
        assert taken <= max(1, limit // 4)
        there[name] += min(taken, size)
        assert sum(there.values()) <= limit
        assert there[name] <= max(1, limit // batches)


def test_crumbs_of_a_quota_are_not_handed_out():
    quota = Quota(limit=1_000, told=True)
    assert may(quota, b=850).tokens == 150
    assert may(quota, b=900).tokens == 0
    assert may(quota, b=850).alone == 150


def test_where_nothing_is_under_way_anything_may_be_tried():
    assert may(Quota(limit=1_000, told=True)).alone is None

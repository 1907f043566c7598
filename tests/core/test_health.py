"""Is an upstream fit to be sent to: the three states, and the waits between looks."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bulkrate.core.health import SUSPICIOUS_FAILURES, Health, State
from bulkrate.core.outcome import Failed, Failure

OUTAGES = [failure for failure in Failure if failure.upstream_is_out]
WHY = Failed(Failure.UNREACHABLE, "why")
OWN = [failure for failure in Failure if not failure.upstream_is_out]


def failed(health: Health, failure: Failure, *, now: float = 0.0, retry_after_s: float | None = None) -> None:
    health.failed(Failed(failure, "why", retry_after_s=retry_after_s), first=True, now=now, jitter=1.0)


def test_a_new_upstream_may_be_sent_as_much_as_its_window_holds():
    health = Health()
    assert health.allows(10_000, now=0.0)
    assert health.reason is None


def test_it_tells_a_key_that_is_refused_from_an_upstream_that_is_away():
    health = Health()
    failed(health, Failure.KEY_REFUSED)
    assert health.key_refused
    failed(health, Failure.UNREACHABLE, now=100.0)
    assert not health.key_refused
    failed(health, Failure.KEY_REFUSED, now=200.0)
    health.back()
    health.succeeded()
    assert not health.key_refused


def test_a_line_is_alone_in_being_refused_for_our_key_while_others_are_answered():
    health = Health()
    assert not health.answers_others()  # nobody was answered yet
    health.succeeded()
    assert [health.answers_others() for _ in range(10)].count(True) == SUSPICIOUS_FAILURES - 1
    health.succeeded()
    assert health.answers_others()
    failed(health, Failure.KEY_REFUSED)
    assert not health.answers_others()


@pytest.mark.parametrize("failure", OUTAGES)
def test_an_outage_stops_all_lines_and_says_why(failure):
    health = Health()
    failed(health, failure)
    assert health.state is State.OUT
    assert health.reason == "why"
    assert not health.allows(0, now=1e9)


@pytest.mark.parametrize("failure", OWN)
def test_a_lines_own_failure_stops_nobody(failure):
    health = Health()
    failed(health, failure)
    assert health.state is State.OK
    assert health.allows(10, now=0.0)


def test_after_a_good_probe_one_line_goes_ahead():
    health = Health()
    failed(health, Failure.UNREACHABLE)
    health.back()
    assert health.state is State.TRIAL
    assert health.allows(0, now=0.0)
    assert not health.allows(1, now=0.0)


def test_the_trial_ends_with_any_answer():
    health = Health()
    failed(health, Failure.UNREACHABLE)
    health.back()
    health.succeeded()
    assert health.state is State.OK
    assert health.reason is None


@pytest.mark.parametrize("failure", OWN)
def test_a_trial_line_that_fails_by_itself_ends_the_trial_too(failure):
    health = Health()
    failed(health, Failure.UNREACHABLE)
    health.back()
    failed(health, failure)
    assert health.state is State.OK


def test_a_trial_line_that_finds_nobody_is_the_next_outage():
    health = Health()
    failed(health, Failure.UNREACHABLE, now=0.0)
    health.back()
    failed(health, Failure.UNREACHABLE, now=1.0)
    assert health.state is State.OUT
    assert health.wait_s(now=1.0) == 1.0  # the second one: 0.5 * 2


def test_all_lines_in_flight_tell_of_one_outage():
    health = Health()
    for _ in range(256):
        failed(health, Failure.UNREACHABLE, now=0.0)
    assert health.wait_s(now=0.0) == 0.5


@pytest.mark.parametrize(
    ("outage", "seconds"),
    [(1, 0.5), (2, 1.0), (3, 2.0), (5, 8.0), (6, 15.0), (50, 15.0)],  # 0.5 * 2^(n-1), at most 15
)
def test_looks_grow_rarer_while_it_stays_out(outage, seconds):
    health = Health()
    now = 0.0
    for _ in range(outage):
        now += 100.0
        health.out(WHY, now=now, jitter=1.0)
    assert health.wait_s(now=now) == seconds


def test_a_success_makes_the_next_outage_a_first_one():
    health = Health()
    for now in (0.0, 100.0, 200.0):
        health.out(WHY, now=now, jitter=1.0)
    health.back()
    health.succeeded()
    health.out(WHY, now=300.0, jitter=1.0)
    assert health.wait_s(now=300.0) == 0.5


def test_jitter_takes_a_quarter_at_most():
    health = Health()
    health.out(WHY, now=0.0, jitter=0.0)
    assert health.wait_s(now=0.0) == 0.375  # 0.5 * 0.75


def test_a_busy_upstreams_retry_after_is_kept_to():
    health = Health()
    failed(health, Failure.BUSY, now=10.0, retry_after_s=5.0)
    assert health.state is State.OK
    assert not health.allows(0, now=14.9)
    assert health.wait_s(now=14.0) == 1.0
    assert health.allows(7, now=15.0)


def test_of_several_retry_afters_the_latest_moment_counts():
    health = Health()
    failed(health, Failure.BUSY, now=0.0, retry_after_s=30.0)
    failed(health, Failure.BUSY, now=1.0, retry_after_s=1.0)
    assert health.wait_s(now=1.0) == 29.0


def test_failures_in_a_row_are_counted_until_one_line_is_answered():
    health = Health()
    for _ in range(3):
        failed(health, Failure.ERROR)
    assert health.failures == 3
    health.succeeded()
    assert health.failures == 0


class Life(RuleBasedStateMachine):
    """Whatever happens to an upstream, in any order."""

    def __init__(self):
        super().__init__()
        self.health = Health()
        self.now = 0.0

    @rule(seconds=st.floats(0, 100))
    def time_passes(self, seconds):
        self.now += seconds

    @rule(
        failure=st.sampled_from(Failure),
        retry_after_s=st.none() | st.floats(0, 50),
        jitter=st.floats(0, 0.99),
    )
    def fails(self, failure, retry_after_s, jitter):
        self.health.failed(
            Failed(failure, "why", retry_after_s=retry_after_s), first=True, now=self.now, jitter=jitter
        )
        if failure.upstream_is_out:
            assert self.health.state is State.OUT

    @rule()
    def succeeds(self):
        self.health.succeeded()
        assert self.health.state is State.OK

    @precondition(lambda self: self.health.state is State.OUT)
    @rule()
    def is_probed(self):
        self.health.back()
        assert self.health.allows(0, now=self.now)

    @invariant()
    def sends_nothing_while_out_and_waits_a_bounded_time(self):
        if self.health.state is State.OUT:
            assert not self.health.allows(0, now=self.now)
        assert 0 <= self.health.wait_s(now=self.now) <= 50
        assert self.health.state is State.OK or self.health.reason == "why"


test_an_upstream_out_is_sent_nothing_whatever_happened_before = Life.TestCase


def failing(lines: int, *, at: float = 0.0, again: int = 0) -> Health:
    health = Health()
    for number in range(lines + again):
        health.failed(Failed(Failure.ERROR, "why"), first=number < lines, now=at, jitter=0.0)
    return health


def test_many_lines_that_fail_without_an_answer_between_them_look_like_an_outage():
    assert failing(10).seems_out(now=59.0, outage_s=60.0)


def test_a_few_lines_that_fail_again_and_again_are_bad_lines():
    assert not failing(9, again=50).seems_out(now=1.0, outage_s=60.0)


def test_what_fails_for_longer_than_an_outage_is_the_lines():
    assert not failing(10, at=10.0).seems_out(now=70.0, outage_s=60.0)


def test_one_answer_ends_the_suspicion():
    health = failing(10)
    health.succeeded()
    assert not health.seems_out(now=1.0, outage_s=60.0)

"""Who fails whenever everybody fails is heard alone, while the upstream is known to answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from bulkrate.core.outcome import Answer, Answered, Failed, Failure, Outcome
from bulkrate.dispatch import Lane, Work
from bulkrate.dispatch import hearing as module
from bulkrate.dispatch.hearing import Hearing
from bulkrate.dispatch.inquest import Suspect
from tests.dispatch.test_lane import Lines

ANSWERED = Answered(Answer(200, b"{}"))
FELL = Failed(Failure.ERROR, "the upstream answered 502")
BUSY = Failed(Failure.BUSY, "the upstream is busy (503)")


class Upstream:
    """An engine behind a gateway: it dies of some lines, and is back after so many other calls."""

    def __init__(
        self,
        *,
        deadly: set[int] = frozenset(),
        away: int = 0,
        back_after: int = 3,
        meanwhile: Outcome | None = FELL,
    ) -> None:
        self.deadly = deadly
        self.meanwhile = meanwhile
        self.away = away
        self.back_after = back_after
        self.sent: list[int] = []
        self.outcomes: dict[int, Outcome | None] = {}

    async def attempt(self, _: Lane, work: Work) -> Outcome | None:
        self.sent.append(work.line)
        if self.away:
            self.away -= 1
            return self.meanwhile
        if work.line in self.deadly:
            self.away = self.back_after
            return FELL
        return ANSWERED

    async def deliver(self, lane: Lane, work: Work, outcome: Outcome | None) -> None:
        lane.in_flight -= 1
        self.outcomes[work.line] = outcome


async def _at_once() -> None:
    """Nothing is in flight."""


class Clock:
    """Seconds that pass only in pauses, or when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the test; it is moved."""
    clock = Clock()
    yield_once = asyncio.sleep

    async def sleep(seconds: float) -> None:
        clock.now += seconds
        await yield_once(0)

    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    return clock


def hearing_at(
    upstream: Upstream, control: Callable[[], Suspect | None], clock: Callable[[], float] = lambda: 0.0
) -> Hearing:
    return Hearing(
        attempt=upstream.attempt,
        deliver=upstream.deliver,
        idle=_at_once,
        control=control,
        on_return=lambda _: None,
        patience_s=60,
        clock=clock,
    )


def hear(upstream: Upstream, lane: Lane, heard: int, *, control: Callable[[], Work | None]) -> Hearing:
    """Have the first lines of a lane heard, to the end."""

    def take() -> tuple[Lane, Work] | None:
        work = control()
        return (lane, work) if work is not None else None

    hearing = hearing_at(upstream, take)
    for _ in range(heard):
        work = lane.take()
        work.falls = ((0.0, 1.0),)
        assert hearing.take(lane, work)
    assert hearing.pending
    asyncio.run(hearing.run())
    assert not hearing.pending
    return hearing


def fresh(lane: Lane) -> Callable[[], Work | None]:
    return lambda: lane.take(retries_first=False) if lane.ready else None


def test_a_victim_is_answered_and_the_culprit_has_the_last_word_of_its_upstream():
    upstream, lane = Upstream(deadly={1}, away=2), Lane(Lines(20))
    hear(upstream, lane, 3, control=fresh(lane))
    assert [upstream.outcomes[line] for line in (0, 1, 2)] == [ANSWERED, FELL, ANSWERED]
    assert lane.in_flight == 0
    assert upstream.sent.count(1) == 1


def test_nobody_is_heard_before_somebody_else_was_answered():
    upstream, lane = Upstream(away=4), Lane(Lines(20))
    hear(upstream, lane, 1, control=fresh(lane))
    assert upstream.sent.index(0) == 5
    assert upstream.outcomes[0] is ANSWERED


@pytest.mark.parametrize("meanwhile", [BUSY, None], ids=["busy", "nobody-waits-for-it"])
def test_who_goes_first_and_is_not_answered_lets_nobody_be_heard(meanwhile: Outcome | None):
    """A gateway's 503 for an engine that is gone was taken for an answer, and its victims failed with it."""
    upstream, lane = Upstream(away=4, meanwhile=meanwhile), Lane(Lines(20))
    hear(upstream, lane, 1, control=fresh(lane))
    assert upstream.sent.index(0) == 5
    assert upstream.outcomes[0] is ANSWERED


def test_who_is_refused_for_want_of_capacity_waits_until_the_upstream_is_back(clock: Clock):
    """With nobody else to go first, a culprit was sent back to all others by the 503 for its own victim."""
    upstream, lane = Upstream(deadly={0}, back_after=2, meanwhile=BUSY), Lane(Lines(2))
    upstream.away = 3
    hear(upstream, lane, 2, control=lambda: None)
    assert upstream.outcomes == {0: FELL, 1: ANSWERED}
    assert 0 < clock.now < module._PATIENCE_S_MAX


def test_lines_that_are_given_away_are_not_heard():
    lane, upstream = Lane(Lines(3)), Upstream()
    hearing = hearing_at(upstream, lambda: (lane, lane.take()))
    works = [lane.take(), lane.take()]
    for work in works:
        assert hearing.take(lane, work)
    assert hearing.release() == [(lane, work) for work in works]
    asyncio.run(hearing.run())
    assert (upstream.sent, hearing.pending) == ([], False)


def test_a_control_that_fails_pays_nothing_and_goes_back_to_its_lane():
    upstream, lane = Upstream(away=1), Lane(Lines(3))
    hear(upstream, lane, 1, control=fresh(lane))
    again = lane.take()
    assert (again.line, again.attempts, again.tries) == (1, 0, 0)


def test_who_failed_before_is_a_control_where_nobody_else_is_left(clock: Clock):
    upstream, lane = Upstream(deadly={7}, back_after=0), Lane(Lines(3))
    bad = Work(7)

    def control() -> Work | None:
        if not lane.retries:
            lane.in_flight += 1
            lane.put_back(bad)
        return lane.take()

    bad.falls = ((0.0, 1.0),)
    hear(upstream, lane, 2, control=control)
    assert upstream.outcomes == {0: ANSWERED, 1: ANSWERED}
    assert module._PATIENCE_S_MAX <= clock.now < module._PATIENCE_S_MAX + module._PAUSE_S_MAX
    assert lane.retries  # it went back


def test_without_a_control_they_are_each_others():
    upstream, lane = Upstream(deadly={0}, away=0, back_after=1), Lane(Lines(3))
    hear(upstream, lane, 3, control=lambda: None)
    assert [upstream.outcomes[line] for line in (0, 1, 2)] == [FELL, ANSWERED, ANSWERED]


@pytest.mark.parametrize(("controls", "patience_s"), [(True, 60), (False, module._PATIENCE_S_MAX)])
def test_an_upstream_that_answers_nobody_is_waited_for_so_long_and_then_all_is_said(
    controls: bool, patience_s: float, clock: Clock
):
    upstream, lane = Upstream(away=10**6), Lane(Lines(1_000))
    hear(upstream, lane, 5, control=fresh(lane) if controls else lambda: None)
    assert {line: upstream.outcomes[line] for line in range(5)} == dict.fromkeys(range(5), FELL)
    assert patience_s <= clock.now < patience_s + module._PAUSE_S_MAX


def hear_one(hearing: Hearing, lane: Lane) -> bool:
    """Whether the next line of a lane is heard; if so, to the end."""
    taken = hearing.take(lane, lane.take())
    asyncio.run(hearing.run())
    return taken


def test_a_few_bad_lines_in_a_row_are_no_reason_to_pause(clock: Clock):
    upstream, lane = Upstream(away=module._FRESH_TRIED - 1), Lane(Lines(20))
    hear(upstream, lane, 1, control=fresh(lane))
    assert upstream.outcomes[0] is ANSWERED
    assert clock.now == 0.0


def test_where_lines_fail_for_themselves_they_are_heard_for_a_share_of_the_time(clock: Clock):
    upstream, lane = Upstream(away=10**6), Lane(Lines(1_000))
    hearing = hearing_at(upstream, lambda: None, clock)
    while hear_one(hearing, lane):
        assert clock.now < 3 * module._VAIN_S_MAX
    assert clock.now > module._VAIN_S_MAX
    clock.now += module._VAIN_S_MAX / module._VAIN_SHARE
    assert hear_one(hearing, lane)


@pytest.mark.parametrize("answered", [True, False])
def test_who_is_answered_makes_up_for_those_who_were_heard_in_vain(answered: bool, clock: Clock):
    upstream, lane = Upstream(), Lane(Lines(1_000))
    hearing = hearing_at(upstream, lambda: None, clock)
    for away in (10**6, 0 if answered else 10**6):
        upstream.away = away
        assert hear_one(hearing, lane)
        clock.now += 40  # which makes up for two seconds, and no more
    assert hear_one(hearing, lane) is answered


def test_waiting_for_an_upstream_that_was_away_is_not_in_vain(clock: Clock):
    upstream, lane = Upstream(), Lane(Lines(1_000))
    hearing = hearing_at(upstream, lambda: (lane, lane.take()), clock)
    for _ in range(5):
        suspect = lane.take()
        upstream.deadly, upstream.away = {suspect.line}, 5 * module._FRESH_TRIED
        assert hearing.take(lane, suspect)
        asyncio.run(hearing.run())
        assert upstream.outcomes[suspect.line] is FELL
    assert clock.now > module._VAIN_S_MAX


def test_a_line_is_heard_once_and_so_many_wait_at_most():
    lane = Lane(Lines(module._WAITING_MAX + 1))
    upstream = Upstream()
    hearing = hearing_at(upstream, lambda: None)
    works = [lane.take() for _ in range(module._WAITING_MAX + 1)]
    assert [hearing.take(lane, work) for work in works] == [True] * module._WAITING_MAX + [False]
    assert not hearing.take(lane, works[0])


def test_lines_that_nobody_wants_any_more_are_not_heard():
    lane, upstream = Lane(Lines(2)), Upstream()
    hearing = hearing_at(upstream, lambda: None)
    assert hearing.take(lane, lane.take())
    lane.close()
    hearing.drop(lane)
    asyncio.run(hearing.run())
    assert (upstream.sent, lane.empty, hearing.pending) == ([], True, False)


def test_a_line_whose_batch_ends_while_it_is_tried_is_not_tried_again():
    lane = Lane(Lines(1))

    class Cancelled(Upstream):
        async def attempt(self, lane: Lane, work: Work) -> Outcome | None:
            lane.close()
            return await super().attempt(lane, work)

    upstream = Cancelled(away=10**3)
    hear(upstream, lane, 1, control=lambda: None)
    assert (upstream.sent, upstream.outcomes, lane.empty) == ([0], {0: FELL}, True)

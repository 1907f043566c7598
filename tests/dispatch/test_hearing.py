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


class Upstream:
    """An engine behind a gateway: it dies of some lines, and is back after so many other calls."""

    def __init__(self, *, deadly: set[int] = frozenset(), away: int = 0, back_after: int = 3) -> None:
        self.deadly = deadly
        self.away = away
        self.back_after = back_after
        self.sent: list[int] = []
        self.outcomes: dict[int, Outcome | None] = {}

    async def attempt(self, _: Lane, work: Work) -> Outcome:
        self.sent.append(work.line)
        if self.away:
            self.away -= 1
            return FELL
        if work.line in self.deadly:
            self.away = self.back_after
            return FELL
        return ANSWERED

    async def deliver(self, lane: Lane, work: Work, outcome: Outcome | None) -> None:
        lane.in_flight -= 1
        self.outcomes[work.line] = outcome


async def _at_once() -> None:
    """Nothing is in flight."""


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was paused; the clock is moved."""
    slept: list[float] = []
    yield_once = asyncio.sleep

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await yield_once(0)

    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    return slept


def hearing_at(upstream: Upstream, control: Callable[[], Suspect | None]) -> Hearing:
    return Hearing(
        attempt=upstream.attempt,
        deliver=upstream.deliver,
        idle=_at_once,
        control=control,
        on_return=lambda _: None,
        patience_s=60,
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


def test_a_control_that_fails_pays_nothing_and_goes_back_to_its_lane():
    upstream, lane = Upstream(away=1), Lane(Lines(3))
    hear(upstream, lane, 1, control=fresh(lane))
    again = lane.take()
    assert (again.line, again.attempts, again.tries) == (1, 0, 0)


def test_who_failed_before_is_no_control():
    upstream, lane = Upstream(), Lane(Lines(2))
    tried = Work(7)
    tried.falls = ((0.0, 1.0),)
    given = iter([tried])

    def control() -> Work | None:
        work = next(given, None)
        lane.in_flight += work is not None
        return work

    hear(upstream, lane, 2, control=control)
    assert upstream.sent == [0, 1]
    assert lane.retries  # it went back


def test_without_a_control_they_are_each_others():
    upstream, lane = Upstream(deadly={0}, away=0, back_after=1), Lane(Lines(3))
    hear(upstream, lane, 3, control=lambda: None)
    assert [upstream.outcomes[line] for line in (0, 1, 2)] == [FELL, ANSWERED, ANSWERED]


@pytest.mark.parametrize(("controls", "patience_s"), [(True, 60), (False, module._PATIENCE_S_MAX)])
def test_an_upstream_that_answers_nobody_is_waited_for_so_long_and_then_all_is_said(
    controls: bool, patience_s: float, pauses: list[float]
):
    upstream, lane = Upstream(away=10**6), Lane(Lines(1_000))
    hear(upstream, lane, 5, control=fresh(lane) if controls else lambda: None)
    assert {line: upstream.outcomes[line] for line in range(5)} == dict.fromkeys(range(5), FELL)
    assert patience_s <= sum(pauses) < patience_s + module._PAUSE_S_MAX


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

"""What becomes of a line whose attempt failed: it pays for nothing but what may be its own fault."""

from __future__ import annotations

import asyncio

import pytest

from bulkrate.config import Upstream
from bulkrate.core.outcome import Failed, Failure
from bulkrate.core.refusals import Refusals
from bulkrate.core.retry import Retry
from bulkrate.core.turns import Turns
from bulkrate.dispatch import Lane
from bulkrate.dispatch.condition import Condition
from bulkrate.dispatch.failures import Failures
from bulkrate.dispatch.trials import Trials
from tests.dispatch.test_lane import Lines


async def _nothing(*_: object) -> None:
    """Nothing is sent here."""


async def _is_alive() -> bool:
    return True


def failures_of(retry: Retry) -> Failures:
    condition = Condition(
        Upstream(url="http://127.0.0.1:1/v1"), known_windows={}, stats_before=None, on_room=lambda _: None
    )
    turns: Turns[Lane] = Turns(lambda lane: lane.in_flight, lambda lane: lane.ready, lambda _: False)
    trials = Trials(
        attempt=_nothing,
        deliver=_nothing,
        alive=_is_alive,
        ready=_nothing,
        idle=_nothing,
        width=lambda: 1,
        turns=turns,
        on_return=lambda _: None,
        patience_s=60,
        clock=lambda: 0.0,
    )
    return Failures(retry, condition, trials, on_return=lambda _: None, is_alive=_is_alive)


@pytest.mark.parametrize("singled_out", [False, True])
def test_a_line_without_attempts_left_waits_while_its_upstream_is_busy_with_others_too(singled_out: bool):
    """A victim of another line was tried alone, when the gateway had no engine: its 503 was the last word."""
    load, retry = Lines(1), Retry(attempts_max=2)
    lane = Lane(load)
    work = lane.take()
    work.attempts = retry.attempts_max
    work.refusals = Refusals()
    work.refusals.singled_out = singled_out

    async def place() -> int:
        failures = failures_of(retry)
        await failures.place(lane, work, Failed(Failure.BUSY, "the upstream is busy (503)"))
        return failures.waiting

    assert asyncio.run(place()) == (not singled_out)
    assert load.settled == ([0] if singled_out else [])

"""A line is in one place, whatever becomes of its upstream, and none that does not come back keeps it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvloop

from bulkrate.config import Upstream
from bulkrate.core.outcome import Failed, Failure
from bulkrate.core.retry import Retry
from bulkrate.dispatch import Driver, Lane
from bulkrate.dispatch import driver as module
from bulkrate.dispatch.inquest import Suspect
from tests.dispatch.test_lane import Lines
from tests.support.processes import free_port


def driver_of_nothing(retry: Retry, **told: Any) -> Driver:
    """A driver of an upstream that is not there. `told` are those of its listeners that a test has."""
    listeners = {name: lambda *_: None for name in ("on_news", "on_landed", "on_return", "on_bug")}
    upstream = Upstream(url=f"http://127.0.0.1:{free_port()}/v1")
    return Driver("u", upstream, retry=retry, answer_bytes_max=1 << 20, **(listeners | told))


def test_lines_that_are_tried_alone_go_to_another_upstream_when_their_own_stays_away(
    monkeypatch: pytest.MonkeyPatch,
):
    """They waited for it until their batch was late, beside an upstream that had nothing to do."""
    monkeypatch.setattr(module, "_ORPHANS_S", 0.0)
    lane = Lane(Lines(1))

    async def orphans() -> list[Suspect]:
        given: asyncio.Future[list[Suspect]] = asyncio.get_running_loop().create_future()

        def take(orphans: list[Suspect]) -> list[Suspect]:
            if orphans and not given.done():
                given.set_result(orphans)
            return []

        driver = driver_of_nothing(Retry(), on_bug=given.set_exception, on_orphans=take)
        try:
            driver.enter(lane)
            assert driver._trials.hearing.take(lane, lane.take())
            driver.look()
            return await asyncio.wait_for(given, 30)
        finally:
            await driver.close()

    assert [(at, work.line) for at, work in asyncio.run(orphans())] == [(lane, 0)]


def test_a_line_whose_time_is_up_as_its_upstream_dies_is_in_one_place():
    """Timers of uvloop are up a rounding error before the time they say: one in ten was in two places."""

    async def twice() -> list[Suspect]:
        lane = Lane(Lines(300))
        returned = asyncio.Event()
        soon = Retry(backoff_s_min=0.01, backoff_s_max=0.01)
        driver = driver_of_nothing(soon, on_return=lambda _: returned.set())
        suspects = []
        try:
            for _ in range(300):
                returned.clear()
                await driver._failures.place(
                    lane, lane.take(retries_first=False), Failed(Failure.LOST, "gone")
                )
                await asyncio.wait_for(returned.wait(), 30)
                driver._failures.upstream_died(now=asyncio.get_running_loop().time())
                suspects += driver._trials.inquest.release()
        finally:
            await driver.close()
        return suspects

    assert uvloop.run(twice()) == []

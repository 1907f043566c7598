"""An upstream that does not come back keeps no line from another that would take it."""

from __future__ import annotations

import asyncio

import pytest

from bulkrate.config import Upstream
from bulkrate.core.retry import Retry
from bulkrate.dispatch import Driver, Lane
from bulkrate.dispatch import driver as module
from bulkrate.dispatch.inquest import Suspect
from tests.dispatch.test_lane import Lines
from tests.support.processes import free_port


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

        driver = Driver(
            "u",
            Upstream(url=f"http://127.0.0.1:{free_port()}/v1"),
            retry=Retry(),
            answer_bytes_max=1 << 20,
            on_news=lambda: None,
            on_landed=lambda _: None,
            on_return=lambda _: None,
            on_bug=given.set_exception,
            on_orphans=take,
        )
        try:
            driver.enter(lane)
            assert driver._trials.hearing.take(lane, lane.take())
            driver.look()
            return await asyncio.wait_for(given, 30)
        finally:
            await driver.close()

    assert [(at, work.line) for at, work in asyncio.run(orphans())] == [(lane, 0)]

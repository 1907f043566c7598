"""Hands the lines of many loads to many upstreams.

An upstream pulls when it has room; nothing is pushed onto one that is busy or out, so several upstreams of
one model share the work by their speed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

import msgspec

from bulkrate.config import Settings
from bulkrate.core.health import State
from bulkrate.core.models import Catalogue, is_served
from bulkrate.core.outcome import Answer, Refused
from bulkrate.dispatch.driver import Driver
from bulkrate.dispatch.lane import Lane
from bulkrate.telemetry import log_event

# Lines without an upstream are refused in groups, so that a long lane does not hold up the others.
_REFUSED_AT_ONCE = 500


class Dispatcher:
    """The drivers of one worker and the lanes they pull from.

    `on_news` is told when an upstream's state changed.
    """

    def __init__(self, settings: Settings, *, on_news: Callable[[Driver], None]) -> None:
        self._lanes: dict[int, Lane] = {}
        self._refusals: set[asyncio.Task[None]] = set()
        self._out: set[str] = set()
        #: Comes to hold what should never have been raised. A line may hang by it, so its owner ends.
        self.broken: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self.drivers: list[Driver] = []
        for name, upstream in settings.upstreams.items():
            driver = Driver(
                name,
                upstream,
                retry=settings.retry,
                answer_bytes_max=settings.limits.answer_bytes_max,
                on_news=lambda name=name: self._on_news(name, on_news),  # type: ignore[misc]
                on_landed=self._on_landed,
                on_return=self._offer,
                on_bug=self._break,
            )
            self.drivers.append(driver)

    @property
    def in_flight(self) -> int:
        """Lines being answered now, over all upstreams."""
        return sum(driver.in_flight for driver in self.drivers)

    @property
    def latency_s(self) -> float:
        """What an answer takes at the slowest upstream."""
        return max((driver.latency_s for driver in self.drivers), default=0.0)

    def start(self) -> None:
        """Look at every upstream for the first time."""
        for driver in self.drivers:
            driver.look()

    def enter(self, lane: Lane) -> None:
        """Begin to send a load."""
        self._lanes[id(lane)] = lane
        if lane.empty:
            lane.load.emptied()
        else:
            self._offer(lane)

    def leave(self, lane: Lane) -> None:
        """Forget a lane. What is in flight lands all the same."""
        lane.close()
        self._lanes.pop(id(lane), None)
        for driver in self.drivers:
            driver.leave(lane)

    def abandon(self, lane: Lane) -> None:
        """Break off what is in flight of a lane, so that others can be sent in its place."""
        self.leave(lane)
        lane.abandon()

    def hold(self, held: bool) -> None:
        """Pause or resume all sending, for a reason that lies with us."""
        for driver in self.drivers:
            driver.held = held
            driver.pump()

    def stop(self) -> None:
        """Send nothing more."""
        for driver in self.drivers:
            driver.stop()
        for task in self._refusals:
            task.cancel()

    async def close(self) -> None:
        """Abandon what is in flight."""
        for driver in self.drivers:
            await driver.close()

    def catalogues(self) -> Mapping[str, Catalogue]:
        """What each upstream serves."""
        return {driver.name: driver.catalogue for driver in self.drivers}

    def _offer(self, lane: Lane) -> None:
        """Show a lane to every upstream that serves its model, the least busy first."""
        if id(lane) not in self._lanes:
            return
        able = [driver for driver in self.drivers if driver.catalogue.name_for(lane.load.model) is not None]
        for driver in able:
            driver.enter(lane)
        for driver in sorted(able, key=lambda driver: driver.idle_share):
            driver.pump()
        if not able and not is_served((d.catalogue for d in self.drivers), lane.load.model):
            self._refuse(lane)

    def _on_landed(self, lane: Lane) -> None:
        for driver in self.drivers:
            driver.landed(lane)

    def _on_news(self, name: str, on_news: Callable[[Driver], None]) -> None:
        driver = next(driver for driver in self.drivers if driver.name == name)
        self._report(driver)
        on_news(driver)
        if driver.health.state is not State.OUT:
            for lane in list(self._lanes.values()):
                self._offer(lane)

    def _report(self, driver: Driver) -> None:
        out = driver.health.state is State.OUT
        if out and driver.name not in self._out:
            self._out.add(driver.name)
            log_event(logging.WARNING, "upstream_out", upstream=driver.name, reason=driver.health.reason)
        elif not out and driver.name in self._out:
            self._out.discard(driver.name)
            log_event(logging.WARNING, "upstream_back", upstream=driver.name)

    def _refuse(self, lane: Lane) -> None:
        """Every upstream has told what it serves, and none serves this: answer each line as an upstream
        would.
        """
        task = asyncio.get_running_loop().create_task(self._refuse_all(lane))
        self._refusals.add(task)
        task.add_done_callback(self._on_refused)

    def _on_refused(self, task: asyncio.Task[None]) -> None:
        self._refusals.discard(task)
        if not task.cancelled() and (bug := task.exception()) is not None:
            self._break(bug)

    def _break(self, bug: BaseException) -> None:
        if not self.broken.done():
            self.broken.set_result(bug)

    async def _refuse_all(self, lane: Lane) -> None:
        answer = _model_not_found(lane.load.model)
        while lane.ready:
            for _ in range(_REFUSED_AT_ONCE):
                if not lane.ready:
                    break
                lane.settle(lane.take(), Refused(answer))
            await asyncio.sleep(0)
        if lane.empty:
            lane.load.emptied()


def _model_not_found(model: str) -> Answer:
    error = {
        "message": f"No upstream serves the model '{model}' any more.",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }
    return Answer(404, msgspec.json.encode({"error": error}))

"""Hands the lines of many loads to many upstreams.

An upstream pulls when it has room; nothing is pushed onto one that is busy or out, so several upstreams of
one model share the work by their speed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

import msgspec

from bulkrate.config import Settings
from bulkrate.core.health import State
from bulkrate.core.models import Catalogue
from bulkrate.core.outcome import Answer, Refused
from bulkrate.core.stats import UpstreamSnapshot
from bulkrate.dispatch.base import Work
from bulkrate.dispatch.driver import Driver
from bulkrate.dispatch.hedge import Hedger
from bulkrate.dispatch.inquest import Suspect
from bulkrate.dispatch.lane import Lane
from bulkrate.telemetry import log_event

# Lines without an upstream are refused in groups, so that a long lane does not hold up the others.
_REFUSED_AT_ONCE = 500


class Dispatcher:
    """The drivers of one worker and the lanes they pull from.

    `on_news` is told when an upstream's state changed. `may_be_served` says of a model whether any upstream,
    here or at another worker, may serve it. `counted` tells what was counted at an upstream before, to count
    on from.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        on_news: Callable[[Driver], None],
        may_be_served: Callable[[str], bool],
        counted: Callable[[str], UpstreamSnapshot | None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._news_to = on_news
        self._may_be_served = may_be_served
        self._counted = counted
        self._lanes: dict[int, Lane] = {}
        self._refusals: dict[int, asyncio.Task[None]] = {}
        self._out: set[str] = set()
        self._held = False
        #: Comes to hold what should never have been raised. A line may hang by it, so its owner ends.
        self.broken: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        #: The upstreams at work, and those that only land what is in flight.
        self.drivers: list[Driver] = []
        self.leaving: list[Driver] = []
        self._hedging = self._hedge(settings.retry.hedge) if settings.retry.hedge else None

    @property
    def in_flight(self) -> int:
        """Lines being answered now, over all upstreams."""
        return sum(driver.in_flight for driver in (*self.drivers, *self.leaving))

    @property
    def latency_s(self) -> float:
        """What an answer takes at the slowest upstream."""
        return max((driver.latency_s for driver in self.drivers), default=0.0)

    def adopt(self, name: str, *, known_windows: Mapping[str, int]) -> None:
        """Begin to drive an upstream."""
        driver = Driver(
            name,
            self._settings.upstreams[name],
            retry=self._settings.retry,
            answer_bytes_max=self._settings.limits.answer_bytes_max,
            on_news=lambda: self._on_news(driver),
            on_landed=self._on_landed,
            on_return=self.offer,
            on_orphans=self._find_homes,
            on_bug=self._break,
            known_windows=known_windows,
            stats_before=self._counted(name),
        )
        driver.held = self._held
        self.drivers.append(driver)
        driver.look()
        for lane in list(self._lanes.values()):
            self.offer(lane)

    def let_go(self, driver: Driver) -> None:
        """Send an upstream nothing more. What is in flight lands; then it is to be dismissed."""
        driver.stop()
        self.drivers.remove(driver)
        self.leaving.append(driver)

    async def dismiss(self, driver: Driver) -> None:
        """Forget an upstream that was let go."""
        await driver.close()
        self.leaving.remove(driver)
        self._out.discard(driver.name)

    def snapshots(self) -> dict[str, UpstreamSnapshot]:
        """The numbers of each upstream that is driven here."""
        return {driver.name: driver.snapshot() for driver in (*self.drivers, *self.leaving)}

    def enter(self, lane: Lane) -> None:
        """Begin to send a load."""
        self._lanes[id(lane)] = lane
        self.offer(lane)

    def suspect(self, lane: Lane, works: Sequence[Work]) -> None:
        """Test lines of a lane before anything else: one may have killed its upstream at another worker."""
        able = self.serving(lane.load.model)
        well = [driver for driver in able if driver.health.state is State.OK] or able
        for work in works:
            lane.suspect("they fell with their upstream")
            if not well:
                lane.put_by(work)
        if well and works:
            min(well, key=lambda driver: driver.idle_share).adopt([(lane, work) for work in works])

    def leave(self, lane: Lane) -> None:
        """Forget a lane. What is in flight lands all the same."""
        lane.close()
        self._lanes.pop(id(lane), None)
        for driver in (*self.drivers, *self.leaving):
            driver.leave(lane)

    def abandon(self, lane: Lane) -> None:
        """Break off what is in flight of a lane, so that others can be sent in its place."""
        self.leave(lane)
        lane.abandon()

    def hold(self, held: bool) -> None:
        """Pause or resume all sending, for a reason that lies with us."""
        self._held = held
        for driver in self.drivers:
            driver.held = held
            driver.pump()

    def stop(self) -> None:
        """Send nothing more."""
        for driver in self.drivers:
            driver.stop()
        for task in self._refusals.values():
            task.cancel()
        if self._hedging is not None:
            self._hedging.cancel()

    async def close(self) -> None:
        """Abandon what is in flight."""
        for driver in (*self.drivers, *self.leaving):
            await driver.close()

    def serving(self, model: str) -> list[Driver]:
        """The upstreams at work here that serve a model."""
        return [driver for driver in self.drivers if driver.catalogue.name_for(model) is not None]

    def catalogues(self) -> dict[str, Catalogue]:
        """What each upstream at work here serves."""
        return {driver.name: driver.catalogue for driver in self.drivers}

    def offer(self, lane: Lane) -> None:
        """Show a lane that has lines to every upstream that serves its model, the least busy first."""
        if id(lane) not in self._lanes:
            return
        able = self.serving(lane.load.model)
        for driver in able:
            driver.enter(lane)
        for driver in sorted(able, key=lambda driver: driver.idle_share):
            driver.pump()
        if not able and not self._may_be_served(lane.load.model):
            self._refuse(lane)

    def _find_homes(self, orphans: list[Suspect]) -> list[Suspect]:
        """Give lines that may have killed their upstream to others; those that nobody takes are returned."""
        left = []
        for lane, work in orphans:
            able = [driver for driver in self.serving(lane.load.model) if driver.health.state is State.OK]
            if able:
                min(able, key=lambda driver: driver.idle_share).adopt([(lane, work)])
            else:
                left.append((lane, work))
        return left

    def _hedge(self, share: float) -> asyncio.Task[None]:
        hedger = Hedger(share, lanes=lambda: list(self._lanes.values()), drivers=lambda: self.drivers)
        task = asyncio.get_running_loop().create_task(hedger.run())
        task.add_done_callback(self._on_hedged)
        return task

    def _on_hedged(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (bug := task.exception()) is not None:
            self._break(bug)

    def _on_landed(self, lane: Lane) -> None:
        for driver in self.drivers:
            driver.landed(lane)

    def _on_news(self, driver: Driver) -> None:
        if driver not in self.drivers:
            return
        self._report(driver)
        self._news_to(driver)
        if driver.health.state is not State.OUT:
            for lane in list(self._lanes.values()):
                self.offer(lane)

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
        if id(lane) in self._refusals:
            return
        task = asyncio.get_running_loop().create_task(self._refuse_all(lane))
        self._refusals[id(lane)] = task
        task.add_done_callback(lambda task: self._on_refused(id(lane), task))

    def _on_refused(self, which: int, task: asyncio.Task[None]) -> None:
        del self._refusals[which]
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

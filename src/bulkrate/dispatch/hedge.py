"""Hedging: when the end of a batch hangs by a few stragglers, idle upstreams are asked as well.

Only when nothing else is left to send, only for lines that take longer than nearly all others did, and only
for a share of the lines. The first answer counts and the other attempt is broken off, though it may be
billed. ("The Tail at Scale", Dean and Barroso 2013.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from bulkrate.core.histogram import added, quantile
from bulkrate.core.stats import LATENCY_BOUNDS_S
from bulkrate.dispatch.driver import Driver
from bulkrate.dispatch.lane import Lane

_LOOK_S = 0.5
# A line is a straggler when it takes longer than this share of all lines did, and at least so long.
_SHARE = 0.95
_AGE_S_MIN = 1.0


class Hedger:
    """Hedges up to `share` of the lines of each lane, and at least one."""

    def __init__(
        self,
        share: float,
        *,
        lanes: Callable[[], Iterable[Lane]],
        drivers: Callable[[], Sequence[Driver]],
    ) -> None:
        self._share = share
        self._lanes = lanes
        self._drivers = drivers
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        """Look for stragglers until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_S)
            if len(self._drivers()) > 1:
                for lane in self._lanes():
                    self._hedge(lane)

    def _hedge(self, lane: Lane) -> None:
        if lane.closed or not lane.in_flight or not lane.spent:
            return
        old_s = self._old_s()
        now = self._loop.time()
        for work in sorted(lane.flying, key=lambda work: work.sent_at):
            if now - work.sent_at < old_s or lane.hedged >= max(1, self._share * lane.taken):
                return
            if work.second is None and (idle := self._idle_beside(work.upstream, lane)) is not None:
                lane.hedged += 1
                idle.hedge(lane, work)

    def _old_s(self) -> float:
        latencies = added([driver.snapshot().latency for driver in self._drivers()])
        return max(_AGE_S_MIN, quantile(latencies, LATENCY_BOUNDS_S, _SHARE) or 0.0)

    def _idle_beside(self, upstream: str, lane: Lane) -> Driver | None:
        """An upstream that could take the line too. One with room has nothing else to do, or it would be
        full.
        """
        able = [
            driver
            for driver in self._drivers()
            if driver.name != upstream
            and driver.room
            and driver.catalogue.name_for(lane.load.model) is not None
        ]
        return min(able, key=lambda driver: driver.idle_share, default=None)

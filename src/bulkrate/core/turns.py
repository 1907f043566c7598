"""Whose turn it is: the lane with the fewest lines in flight.

Equal shares of the slots, whatever the size of a batch and the length of its answers. Among equals, whoever
waited longest. A lane that ran dry and will have lines in a moment keeps its slots for that moment: those who
answer slowly would not give them back.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Generic, TypeVar

L = TypeVar("L")

# Entries that no longer count are dropped at once when there are so many more of them than lanes.
_STALE_MAX = 64
# Slots are kept while there are no more lanes than this. Among many, each has few, and someone is always dry.
_KEEPING_MAX = 8


class Turns(Generic[L]):
    """Lanes in the order of their turn.

    A lane is offered while it is `enter`ed; `ready` says whether it has a line now, `expects` whether it may
    have some in a moment.
    """

    def __init__(
        self, in_flight: Callable[[L], int], ready: Callable[[L], bool], expects: Callable[[L], bool]
    ) -> None:
        self._in_flight = in_flight
        self._ready = ready
        self._expects = expects
        self._heap: list[tuple[int, int, L]] = []
        # The one entry per lane that counts; older ones in the heap are skipped when they come up.
        self._entry: dict[int, int] = {}
        self._tick = 0
        # While there is but one lane, nobody's turn needs to be found: the heap is left alone.
        self._only: L | None = None
        # Lanes that ran dry, with their lines in flight at that moment.
        self._kept: dict[int, tuple[L, int]] = {}

    @property
    def kept(self) -> int:
        """How many free slots are kept for lanes that ran dry, until they enter again or `keep_none`."""
        if not self._kept:  # asked for each line
            return 0
        return sum(max(0, slots - self._in_flight(lane)) for lane, slots in self._kept.values())

    def keep_none(self) -> None:
        """Those who ran dry have waited long enough."""
        self._kept.clear()

    def enter(self, lane: L) -> None:
        """Offer a lane, or offer it anew because its lines in flight or its readiness changed."""
        if lane is self._only:
            return
        self._kept.pop(id(lane), None)
        if not self._entry:
            self._only = lane
        elif self._only is not None:
            first, self._only = self._only, None
            self._push(first)
        self._push(lane)

    def _push(self, lane: L) -> None:
        self._tick += 1
        self._entry[id(lane)] = self._tick
        heapq.heappush(self._heap, (self._in_flight(lane), self._tick, lane))
        if len(self._heap) > _STALE_MAX + 2 * len(self._entry):
            self._drop_stale()

    def landed(self, lane: L) -> None:
        """A lane has fewer lines in flight. Without being told, its turn would come too late: only the first
        entry is ever compared with the truth.
        """
        if lane is not self._only and id(lane) in self._entry:
            self._push(lane)

    def leave(self, lane: L) -> None:
        """Offer a lane no more."""
        self._entry.pop(id(lane), None)
        self._kept.pop(id(lane), None)
        if lane is self._only:
            self._only = None

    def _leave_dry(self, lane: L) -> None:
        self.leave(lane)
        if len(self._entry) < _KEEPING_MAX and self._expects(lane):
            self._kept[id(lane)] = (lane, self._in_flight(lane))

    def best(self) -> L | None:
        """The lane whose turn it is; it stays entered. One that is not ready leaves until it enters again."""
        if self._only is not None:
            if self._ready(self._only):
                return self._only
            self._leave_dry(self._only)
        while self._heap:
            in_flight, tick, lane = self._heap[0]
            if self._entry.get(id(lane)) != tick:
                heapq.heappop(self._heap)
            elif not self._ready(lane):
                heapq.heappop(self._heap)
                self._leave_dry(lane)
            elif in_flight != self._in_flight(lane):
                heapq.heappop(self._heap)
                self._push(lane)
            else:
                return lane
        return None

    def _drop_stale(self) -> None:
        """While nobody asks who is best (the upstream is out), stale entries would gather without end."""
        self._heap = [entry for entry in self._heap if self._entry.get(id(entry[2])) == entry[1]]
        heapq.heapify(self._heap)

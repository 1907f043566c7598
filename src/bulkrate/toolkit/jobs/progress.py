"""How a job gets on, for whoever looks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from bulkrate.toolkit.jobs.patience import Moving
    from bulkrate.toolkit.jobs.record import JobRecord

# Speed is that of the last seconds.
_SPEED_S = 15.0


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """A moment of a job. `rows_per_second` and `seconds_left` are None while unknown."""

    job: str
    state: str
    purpose: str
    round: int
    rows: int
    done: int
    answered: int
    failed: int
    skipped: int
    in_flight: int
    rows_per_second: float | None
    seconds_left: float | None
    paused: str | None
    #: Dollars spent so far, as far as prices are known.
    usd: float

    @classmethod
    def of(cls, record: JobRecord, *, done: int, moving: Moving, speed: float | None) -> Progress:
        """What the record and the running batches say together."""
        rows = record.rows or 0
        counts = record.counts
        return cls(
            job=record.id,
            state=record.state,
            purpose=record.rounds[-1].purpose if record.rounds else "first",
            round=len(record.rounds),
            rows=rows,
            done=done,
            answered=counts.get("answered", 0),
            failed=counts.get("failed", 0) + counts.get("invalid", 0),
            skipped=counts.get("skipped", 0),
            in_flight=moving.in_flight,
            rows_per_second=speed,
            seconds_left=(rows - done) / speed if speed else None,
            paused=moving.paused or record.waiting,
            usd=float(sum(each.usd for tiers in record.tokens.values() for each in tiers.values())),
        )


class Speed:
    """Rows a second over the last seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._points: deque[tuple[float, int]] = deque()

    def now(self, done: int) -> float | None:
        """The speed, after another look that found so many rows done; None while there is none."""
        now = self._clock()
        self._points.append((now, done))
        while len(self._points) > 2 and now - self._points[0][0] > _SPEED_S:
            self._points.popleft()
        began, before = self._points[0]
        if now - began < 0.5 or done == before:
            return None
        return (done - before) / (now - began)

"""The shards that a worker drives, and what it has to tell of each."""

from __future__ import annotations

from dataclasses import dataclass, field

from bulkrate.core.plan import LineSet
from bulkrate.dispatch import Lane
from bulkrate.engine.log import BatchLog
from bulkrate.engine.loops.load import ShardLoad
from bulkrate.store.records import ShardNews

# How often the progress of a shard without outcomes is told.
TELL_S = 1.0
# How much of the newest rate goes into the rate that is told.
_RATE_WEIGHT = 0.3
_RATE_MIN = 0.01


@dataclass
class ActiveShard:
    """A shard under way. Times are the event loop's."""

    load: ShardLoad
    lane: Lane
    told_at: float
    closing_since: float | None = None
    _told_settled: int = 0
    _told_in_flight: int = 0
    _told_waiting: str | None = None
    _lines_per_s: float = 0.0

    @property
    def over(self) -> bool:
        """Whether the worker has nothing more to do with it: every line has an outcome, or it is let go."""
        released = self.closing_since is not None and (self.lane.in_flight == 0 or self.load.abandoned)
        return self.load.done or released

    def has_news(self, now: float) -> bool:
        """Whether something changed that was not told for a while."""
        if now - self.told_at < TELL_S:
            return False
        return (
            self.load.settled != self._told_settled
            or self.lane.in_flight != self._told_in_flight
            or self.lane.waits_for != self._told_waiting
            or self._lines_per_s > 0
        )

    def tell(self, now: float) -> ShardNews:
        """How it is getting on, as of now."""
        rate = (self.load.settled - self._told_settled) / max(now - self.told_at, 0.001)
        if self._lines_per_s:
            rate = self._lines_per_s + (rate - self._lines_per_s) * _RATE_WEIGHT
        self._lines_per_s = rate if rate >= _RATE_MIN else 0.0
        self.told_at = now
        self._told_settled = self.load.settled
        self._told_in_flight = self.lane.in_flight
        self._told_waiting = self.lane.waits_for
        if self.over:
            return ShardNews(shard=self.load.shard, done=self.load.done, released=True)
        return ShardNews(
            shard=self.load.shard,
            in_flight=self.lane.in_flight,
            lines_per_s=self._lines_per_s,
            waiting=self._told_waiting,
        )


@dataclass
class ActiveBatch:
    """What the shards of one batch share."""

    log: BatchLog
    finished: LineSet
    shards: dict[int, ActiveShard] = field(default_factory=dict)

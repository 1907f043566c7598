"""The shards that a worker has lines of, and what it has to tell of each batch."""

from __future__ import annotations

from dataclasses import dataclass, field

from bulkrate.core.shares import Stock
from bulkrate.dispatch import Lane
from bulkrate.engine.log import BatchLog, FinishedLines
from bulkrate.engine.loops.load import Part, ShardLoad
from bulkrate.store.records import Moving, RangeNews

# How often the progress of a batch is told.
TELL_S = 1.0
# How much of the newest rate goes into the rate that is told, and into the one that claims go by.
_RATE_WEIGHT = 0.3
_CLAIM_RATE_WEIGHT = 0.5
_CLAIM_RATE_S = 0.25
_RATE_MIN = 0.01
_STILL = Moving()


@dataclass(eq=False)
class ActiveShard:
    """A shard of which this worker has lines, or would like some. Times are the event loop's."""

    load: ShardLoad
    lane: Lane
    measured_at: float
    #: Whether lines of it are being claimed right now.
    claiming: bool = False
    #: When it was given lines last, against the others: who waited longest is served first.
    turn: int = 0
    #: How many claims in a row brought only lines that were done already.
    barren: int = 0
    #: When it was given lines last.
    fed_at: float = float("-inf")
    closing_since: float | None = None
    #: Whether it is let go because its upstream is gone: what was under way there may be why.
    fell: bool = False
    _measured: int = 0
    _lines_per_s: float = 0.0

    @property
    def over(self) -> bool:
        """Whether the worker has nothing more to do with it: no line is left, or it is let go."""
        if self.claiming:
            return False
        if self.closing_since is not None:
            return self.lane.in_flight == 0 or self.load.abandoned
        return not self.load.more and self.lane.empty

    @property
    def hungry(self) -> bool:
        """Whether it would take lines if there were some."""
        return self.load.more and not self.claiming and self.closing_since is None and self.load.in_time

    def is_dry(self, now: float, *, within_s: float) -> bool:
        """Whether it has used up its latest lines within so many seconds: it takes more than it is given."""
        return self.load.stock == 0 and now - self.fed_at < within_s

    def stock(self, now: float) -> Stock:
        """What it has and uses, as of now."""
        elapsed = now - self.measured_at
        if elapsed >= _CLAIM_RATE_S:
            rate = (self.load.taken - self._measured) / elapsed
            self._lines_per_s += (rate - self._lines_per_s) * (_CLAIM_RATE_WEIGHT if self._lines_per_s else 1)
            self.measured_at = now
            self._measured = self.load.taken
            if self._lines_per_s < _RATE_MIN:
                self._lines_per_s = 0.0
        ready = self.lane.ready
        return Stock(self.load.stock, self._lines_per_s, ready and self.lane.in_flight == 0)

    def news(self) -> list[RangeNews]:
        """What became of its ranges; those that are done or let go are told of once."""
        over = self.over
        told = [
            RangeNews(
                shard=self.load.shard,
                start=part.start,
                done=not part.left,
                released=over and part.left > 0,
                suspect=self._suspect(part),
            )
            for part in self.load.parts
        ]
        self.load.parts = [] if over else [part for part in self.load.parts if part.left]
        return told

    def _suspect(self, part: Part) -> int:
        """How many places of a range were taken when their upstream fell. Of one that had holes, all."""
        if not self.fell or not part.taken:
            return 0
        return part.taken if part.fresh else part.lines


@dataclass
class ActiveBatch:
    """What the shards of one batch share."""

    log: BatchLog
    finished: FinishedLines
    told_at: float
    shards: dict[int, ActiveShard] = field(default_factory=dict)
    _told: Moving = _STILL
    _told_settled: int = 0
    #: Outcomes of shards that are over.
    _settled_before: int = 0

    def forget(self, number: int) -> ActiveShard:
        """A shard is over."""
        active = self.shards.pop(number)
        self._settled_before += active.load.settled
        return active

    def moving(self, now: float) -> Moving | None:
        """How it is getting on, if that was not told for a while or the worker is done with it."""
        if self.shards and now - self.told_at < TELL_S:
            return None
        settled = self._settled_before + sum(active.load.settled for active in self.shards.values())
        moving = _STILL
        if self.shards:
            lanes = [active.lane for active in self.shards.values()]
            moving = Moving(
                in_flight=sum(lane.in_flight for lane in lanes),
                lines_per_s=self._rate(settled, now),
                waiting=next((reason for lane in lanes if (reason := lane.waits_for)), None),
            )
        self.told_at = now
        self._told_settled = settled
        if moving == self._told:
            return None
        self._told = moving
        return moving

    def _rate(self, settled: int, now: float) -> float:
        rate = (settled - self._told_settled) / max(now - self.told_at, 0.001)
        before = self._told.lines_per_s
        if before:
            rate = before + (rate - before) * _RATE_WEIGHT
        return rate if rate >= _RATE_MIN else 0.0

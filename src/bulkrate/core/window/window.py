"""The window of one upstream: what may be in flight now, and which of the searches sets it.

    a maximum is configured ──> FIXED ─┐
    nothing is              ──> BLIND ─┼─ the engine tells its load ──> METRICS, until it has not for 5 s
    a quota was told of     ──> QUOTA ─┘
    a total is to be shared ──> SHARED

Whichever it is, a refusal cuts the window, and it grows back slowly to where it was refused. Answers only add
to sums; thinking is done once in a quarter of a round.
"""

from __future__ import annotations

from bulkrate.core.window.blind import Blind
from bulkrate.core.window.metrics import Metrics
from bulkrate.core.window.mode import Mode
from bulkrate.core.window.rate import Block
from bulkrate.core.window.refusals import Refusals
from bulkrate.core.window.shared import Shared
from bulkrate.providers.engines import EngineLoad

#: No window is found beyond this.
WIDTH_MAX = 8192
_START = 16
_BLOCK_ANSWERS_MIN = 4
# Faster than this a clock and a scheduler say more than the upstream.
_BLOCK_S_MIN = 0.1
# Metrics older than this say nothing.
_FRESH_S = 5.0
# An engine that says so often in a row that it has nothing to do, while we wait for answers, is another than
# ours.
_SILENT_MAX = 3


class Window:
    """How many attempts may be in flight.

    `maximum` is what the user configured, None to find it. `start` is the `known_good` of an earlier window
    of the same upstream. `target_running` is how many requests the upstream may run at once, ours and others'
    together. Times are seconds of any clock that only goes forward.
    """

    def __init__(
        self, *, maximum: int | None = None, start: int | None = None, target_running: int | None = None
    ) -> None:
        width_max = maximum or WIDTH_MAX
        width = min(width_max, maximum or start or _START)
        #: How many may be in flight now, at least 1.
        self.limit = max(1, width)
        self._maximum = maximum
        self._refusals = Refusals()
        self._blind = Blind(float(self.limit), width_max=float(width_max), known=start is not None)
        self._metrics = Metrics(float(self.limit), width_max=float(width_max))
        self._shared: Shared | None = None
        if target_running is not None:
            self._shared = Shared(target_running, width_max=width_max)
            self.limit = self._shared.width_unknown
        self._has_quota = False
        self._reads_metrics = False
        self._load_at = float("-inf")
        self._silent = 0
        self._changed_at = float("-inf")
        self._began: float | None = None
        self._clear()
        self._due = 1
        self._due_at = float("-inf")

    @property
    def mode(self) -> Mode:
        """By what the window is set now."""
        if self._shared is not None:
            return Mode.SHARED
        if self._reads_metrics:
            return Mode.METRICS
        if self._maximum is not None:
            return Mode.FIXED
        return Mode.QUOTA if self._has_quota else Mode.BLIND

    @property
    def known_good(self) -> int | None:
        """The window that was found, for the next `start`; None if none was, or none is looked for."""
        if self._maximum is not None or self._shared is not None:
            return None
        if self._reads_metrics:
            return int(self._metrics.width) if self._metrics.proven else None
        return int(self._blind.width) if self._blind.proven else None

    def answered(self, *, in_flight: int, tokens: float, latency_s: float, first: bool, now: float) -> None:
        """An attempt was answered, `latency_s` after it was sent, while `in_flight` were under way, itself
        included.

        `tokens` is what the answer weighs: 0.15 of the prompt's tokens and all of the output's, 1.0 where
        nobody knows. `first` says that the line was not tried before.
        """
        self._answers += 1
        self._in_flight += in_flight
        if now - latency_s >= self._changed_at:
            self._fresh += 1
            self._tokens += tokens
            self._latency_s += latency_s
            self._tokens_squared += tokens * tokens
            self._tokens_latency += tokens * latency_s
            self._latency_squared += latency_s * latency_s
        if not first:
            self._retried += 1
        if self._answers >= self._due and now >= self._due_at:
            self._block_ends(now)

    def busy(self, *, in_flight: int, now: float) -> None:
        """The upstream refused work while `in_flight` attempts were under way, and no quota explains it."""
        width = self._refusals.refused(self.limit, in_flight, answers=self._answers, now=now)
        if width is None:
            return
        self._blind.floor = 1.0
        self._blind.start_at(width)
        self._metrics.width = width
        self._set(width, now=now)

    def scraped(self, load: EngineLoad | None, *, in_flight: int, now: float) -> None:
        """The engine's metrics were read, or could not be (None), while `in_flight` attempts of ours were
        under way.
        """
        if load is not None and load.running + load.waiting == 0 and in_flight > 0:
            self._silent += 1
            if self._silent >= _SILENT_MAX:
                load = None
        else:
            self._silent = 0
        if load is None:
            self._forget_stale_metrics(now)
            return
        self._load_at = now
        if self._shared is not None:
            self._reads_metrics = True
            self._set(self._shared.room(self.limit, load, in_flight=in_flight), now=now)
            return
        if not self._reads_metrics:
            self._reads_metrics = True
            self._metrics.width = float(self.limit)
        self._metrics.may_grow = not self._refusals.recent(now=now)
        self._metrics.add(load, in_flight=in_flight)
        self._set(self._metrics.width, now=now)

    def quota(self) -> None:
        """The upstream told of a quota, which somebody else keeps to: the window need only be wide enough for
        it.
        """
        self._has_quota = True
        self._blind.narrows = False

    def interrupted(self, *, now: float) -> None:
        """Nothing was sent for a while: what is being measured says nothing."""
        self._blind.interrupted()
        self._clear()
        self._began = now
        self._changed_at = now

    def _block_ends(self, now: float) -> None:
        if self._began is None:  # the first answer: what it waited for began when it was sent
            self._began = now - self._latency_s
            self._due = self._due_for_width()
            return
        block = self._block(self._began, now)
        self._clear()
        self._next_block(now)
        self._forget_stale_metrics(now)
        if self._shared is not None:
            return
        self._metrics.answered(block.answers)
        if self._refusals.recent(now=now) or (self._maximum is not None and not self._reads_metrics):
            self._grow_back(block, now)
        elif not self._reads_metrics:
            self._blind.add(block)
            self._set(self._blind.limit, now=now)
            if self._blind.settled:
                self._changed_at = float("-inf")

    def _grow_back(self, block: Block, now: float) -> None:
        width = min(self._refusals.grown(self.limit, block, now=now), float(self._maximum or WIDTH_MAX))
        if width > self.limit:
            self._blind.start_at(width)
            self._metrics.width = width
            self._set(width, now=now)

    def _forget_stale_metrics(self, now: float) -> None:
        if not self._reads_metrics or now - self._load_at <= _FRESH_S:
            return
        self._reads_metrics = False
        if self._shared is not None:
            self._set(min(self.limit, self._shared.width_unknown), now=now)
        else:
            self._metrics.forget()
            self._blind.start_at(self.limit)

    def _set(self, width: float, *, now: float) -> None:
        limit = max(1, int(width + 0.5))
        if limit == self.limit:
            return
        self.limit = limit
        self._changed_at = now
        self._metrics.answered(self._answers)
        self._clear()
        if self._began is not None:
            self._next_block(now)

    def _block(self, began: float, now: float) -> Block:
        in_flight = self._in_flight / self._answers
        return Block(
            answers=self._answers,
            seconds=now - began,
            fresh=self._fresh,
            tokens=self._tokens,
            latency_s=self._latency_s,
            tokens_squared=self._tokens_squared,
            tokens_latency=self._tokens_latency,
            latency_squared=self._latency_squared,
            in_flight=in_flight,
            used=in_flight / self.limit,
            retried=self._retried / self._answers,
        )

    def _next_block(self, now: float) -> None:
        self._began = now
        self._due = self._due_for_width()
        self._due_at = now + _BLOCK_S_MIN

    def _due_for_width(self) -> int:
        return max(_BLOCK_ANSWERS_MIN, self.limit // 4)

    def _clear(self) -> None:
        self._answers = 0
        self._in_flight = 0
        self._retried = 0
        self._fresh = 0
        self._tokens = 0.0
        self._latency_s = 0.0
        self._tokens_squared = 0.0
        self._tokens_latency = 0.0
        self._latency_squared = 0.0

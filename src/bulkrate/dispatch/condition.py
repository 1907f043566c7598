"""The condition of an upstream: is it fit, how wide is its window, how fast is it, what was counted?

Every outcome adds to it. Nothing here sends anything.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

import msgspec

from bulkrate.config import Upstream
from bulkrate.core.company import Company, Fall
from bulkrate.core.health import Health, State
from bulkrate.core.outcome import Answered, Failed, Failure, Refused
from bulkrate.core.refusals import Refusals, Turnout
from bulkrate.core.stats import REFUSED, UpstreamSnapshot, UpstreamStats
from bulkrate.core.window import Window
from bulkrate.dispatch.base import Work
from bulkrate.dispatch.lane import Lane
from bulkrate.dispatch.quotas import Quotas
from bulkrate.providers.engines import EngineLoad
from bulkrate.providers.ratelimits import RateLimits

# How much of the latest answer's time goes into the running latency.
_LATENCY_WEIGHT = 0.1
# How much of an answer's worth is in a token that was read, against one that was written.
_READ_WORTH = 0.15
# So many of its latest falls are remembered of a line.
_FALLS_KEPT = 16


class Condition:
    """The condition of one upstream.

    `known_windows` are windows that were good before, by model; `on_room` takes lanes back that waited for a
    quota. `in_flight` is always without the attempt that is told of, and `now` the event loop's time.
    """

    def __init__(
        self,
        upstream: Upstream,
        *,
        known_windows: Mapping[str, int],
        stats_before: UpstreamSnapshot | None,
        on_room: Callable[[list[Lane]], None],
    ) -> None:
        self.health = Health()
        self.stats = UpstreamStats(stats_before)
        self.quotas = Quotas(on_room)
        #: None until it is known which model it is for.
        self.window: Window | None = None
        #: What an answer takes.
        self.latency_s = 0.0
        self._upstream = upstream
        self._known_windows = dict(known_windows)
        self._models: set[str] = set()
        #: By model, once a line of it was refused for want of capacity.
        self._turnouts: dict[str, Turnout] = {}
        #: By model, once a line of it failed as lines do when their upstream dies.
        self._companies: dict[str, Company] = {}

    @property
    def limit(self) -> int:
        """How many attempts may be under way."""
        return self.window.limit if self.window is not None else 0

    @property
    def known_good(self) -> Mapping[str, int]:
        """Windows that proved good, by model."""
        good = self.window.known_good if self.window is not None else None
        if good is None:
            return self._known_windows
        return self._known_windows | dict.fromkeys(self._models, good)

    def serve(self, model: str) -> None:
        """Lines for a model will be sent."""
        if self.window is None:
            self.window = Window(
                maximum=self._upstream.max_in_flight,
                start=self._known_windows.get(model),
                target_running=self._upstream.target_running,
            )
        self._models.add(model)

    def answered(
        self, model: str, work: Work, outcome: Answered | Refused, *, in_flight: int, now: float
    ) -> None:
        """An attempt was answered, be it with a refusal of its line."""
        took_s = now - work.sent_at
        self.latency_s += (took_s - self.latency_s) * _LATENCY_WEIGHT
        self.health.succeeded()
        worth, used = 1.0, 0
        if isinstance(outcome, Answered):
            usage = outcome.usage
            self.stats.answered(took_s, usage)
            if used := usage.total_tokens:
                worth = usage.input_tokens * _READ_WORTH + usage.output_tokens
        else:
            self.stats.ended(REFUSED, took_s)
        if outcome.answer.limits is not None:
            self._hear(model, outcome.answer.limits, now)
        if self.quotas:
            self.quotas.settle(model, work.reserved, used, now=now)
        if self._turnouts and (turnout := self._turnouts.get(model)) is not None:
            turnout.answered(work.sent_at)
        if self._companies and (company := self._companies.get(model)) is not None:
            company.answered(work.sent_at)
        if self.window is not None:
            self.window.answered(
                in_flight=in_flight + 1, tokens=worth, latency_s=took_s, first=not work.tries, now=now
            )

    def failed(self, model: str, work: Work, failed: Failed, *, in_flight: int, now: float) -> None:
        """An attempt failed for now."""
        self.stats.ended(failed.failure.code, now - work.sent_at)
        if failed.answer is not None and failed.answer.limits is not None:
            self._hear(model, failed.answer.limits, now)
        if self.quotas:
            self.quotas.settle(model, work.reserved, 0, now=now)
        if failed.failure is Failure.BUSY:
            if self._singles_out(model, work):
                failed = msgspec.structs.replace(failed, retry_after_s=None)  # and no reason to hold others
            elif self.quotas.refused(model, failed.retry_after_s, now=now):
                failed = msgspec.structs.replace(failed, retry_after_s=None)
            elif self.window is not None:
                self.window.busy(in_flight=in_flight + 1, now=now)
        elif failed.failure is Failure.TIMED_OUT and self.window is not None:
            self.window.busy(in_flight=in_flight + 1, now=now)  # it may have waited in a queue of ours
        elif failed.failure.is_fall:
            self._companies.setdefault(model, Company()).failed(work, work.sent_at, now=now)
            work.falls = (*work.falls, (work.sent_at, now))[-_FALLS_KEPT:]
        self.health.failed(failed, first=not work.tries, now=now, jitter=random.random())  # noqa: S311

    def failed_together(self, model: str, falls: Sequence[Fall]) -> bool:
        """Whether all lines of a model failed whenever one of these attempts did."""
        company = self._companies.get(model)
        return company is not None and company.together(falls)

    def out(self, failed: Failed, *, now: float) -> None:
        """It cannot work now."""
        self.health.out(failed, now=now, jitter=random.random())  # noqa: S311

    def interrupted(self, *, now: float) -> None:
        """It went out, or came back: what is being measured says nothing."""
        if self.window is not None:
            self.window.interrupted(now=now)

    def scraped(self, load: EngineLoad | None, *, in_flight: int, now: float) -> None:
        """Its engine told its load, or can do so no more (None)."""
        if self.window is not None:
            self.window.scraped(load, in_flight=in_flight, now=now)

    def room(self, in_flight: int) -> int:
        """How many more lines it could take now."""
        return max(0, self.limit - in_flight) if self.health.state is not State.OUT else 0

    def snapshot(self, *, in_flight: int, waiting: int) -> UpstreamSnapshot:
        """Its numbers of now; `waiting` are lines that failed there and are to be tried again."""
        return self.stats.snapshot(
            in_flight=in_flight,
            window=self.limit,
            mode=self.window.mode.name.lower() if self.window is not None else "idle",
            state=self.health.state.name.lower(),
            reason=self.health.reason,
            waiting=waiting,
        )

    def _singles_out(self, model: str, work: Work) -> bool:
        """Whether a line is refused for what it is, and not for want of capacity."""
        turnout = self._turnouts.get(model)
        if turnout is None:
            turnout = self._turnouts[model] = Turnout()
        if work.refusals is None:
            work.refusals = Refusals()
        turnout.refused(work.refusals, work.sent_at)
        return work.refusals.singled_out

    def _hear(self, model: str, limits: RateLimits, now: float) -> None:
        self.quotas.heard(model, limits, now=now)
        if self.window is not None:
            self.window.quota()

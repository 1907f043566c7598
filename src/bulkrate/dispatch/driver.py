"""One upstream, driven: as many lines in flight as it can take, none while it is out.

The driver sends. What an outcome says of the upstream is kept in its `Condition`, and what becomes of a line
that failed is for `Failures` to say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, cast

from bulkrate.config import Upstream
from bulkrate.core.health import SUSPICIOUS_FAILURES, State
from bulkrate.core.models import ANY, Catalogue
from bulkrate.core.outcome import Answered, Failed, Failure, Outcome
from bulkrate.core.retry import Budget, Retry
from bulkrate.core.stats import UpstreamSnapshot
from bulkrate.core.turns import Turns
from bulkrate.dispatch.attempt import Attempts
from bulkrate.dispatch.base import Work
from bulkrate.dispatch.client import Client
from bulkrate.dispatch.condition import Condition
from bulkrate.dispatch.failures import Failures
from bulkrate.dispatch.inquest import Suspect
from bulkrate.dispatch.lane import Lane
from bulkrate.dispatch.trials import Trials
from bulkrate.dispatch.watch import Watch
from bulkrate.providers.engines import EngineLoad

# How often an upstream is asked anew what it serves.
_DISCOVERY_S = 30.0
# And while it has not said so yet.
_FIRST_DISCOVERY_S = 1.0
# A lost connection is a reason to look at once, but not more often than this.
_LOOK_S_MIN = 0.5
# An upstream that is gone for so long leaves its suspects to another.
_ORPHANS_S = 10.0
# How long slots are kept for a lane that ran dry: a claim takes some hundredths of a second.
_KEPT_S = 0.2


class Driver:
    """Pulls lines for one upstream from the lanes it can serve.

    `on_news` is called whenever what is known of the upstream changes; `on_landed` when a lane has a line
    less in flight; `on_return` when it has a line again that another upstream might take; `on_orphans` with
    lines that may have killed this upstream, when it does not come back, and returns those that no other
    takes; `on_bug` with what should never have been raised. `known_windows` are windows that were good
    before, by model.
    """

    def __init__(
        self,
        name: str,
        upstream: Upstream,
        *,
        retry: Retry,
        answer_bytes_max: int,
        on_news: Callable[[], None],
        on_landed: Callable[[Lane], None],
        on_return: Callable[[Lane], None],
        on_bug: Callable[[BaseException], None],
        on_orphans: Callable[[list[Suspect]], list[Suspect]] = lambda orphans: orphans,
        known_windows: Mapping[str, int] | None = None,
        stats_before: UpstreamSnapshot | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.name = name
        self.weight = upstream.weight
        self.in_flight = 0
        self.held = False
        models = tuple(upstream.models) if upstream.models is not None else None
        self.catalogue = Catalogue(models, upstream.aliases)
        self._lists_models = upstream.models is not None
        self._client = Client(upstream, answer_bytes_max=answer_bytes_max)
        self._condition = Condition(
            upstream, known_windows=known_windows or {}, stats_before=stats_before, on_room=self._reenter
        )
        self.health = self._condition.health
        self._attempts = Attempts(
            name,
            upstream,
            self._client,
            retry,
            name_for=self._name_for,
            health=self.health,
        )
        self._budget = Budget(retry.budget)
        self._turns: Turns[Lane] = Turns(
            lambda lane: lane.in_flight, lambda lane: lane.ready, lambda lane: lane.expects
        )
        self._on_news = on_news
        self._on_landed = on_landed
        self._on_return = on_return
        self._on_orphans = on_orphans
        self._on_bug = on_bug
        self._watch = Watch(
            self._client,
            is_busy=lambda: self.in_flight > 0,
            on_models=self._on_models,
            on_trouble=self._on_trouble,
            on_looked=self._on_looked,
            on_load=self._on_load,
        )
        self._trials = Trials(
            attempt=self._try,
            deliver=self._deliver,
            alive=self._is_alive,
            ready=self._until_ready,
            idle=self._until_idle,
            width=lambda: self._condition.limit,
            turns=self._turns,
            on_return=self._returned,
            patience_s=retry.outage_s,
            clock=self._loop.time,
        )
        self._failures = Failures(
            retry,
            self._condition,
            self._trials,
            on_return=self._returned,
            is_alive=self._is_alive,
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._pump_timer: asyncio.TimerHandle | None = None
        self._keep_timer: asyncio.TimerHandle | None = None
        self._pumped = asyncio.Event()
        self._looked_at = float("-inf")
        self._out_since = float("-inf")
        self._stopped = False
        self._spawn(self._watch.read_loads())

    @property
    def latency_s(self) -> float:
        """What an answer takes."""
        return self._condition.latency_s

    @property
    def idle_share(self) -> float:
        """How busy it is for its weight; the least busy is offered a line first."""
        return self.in_flight / self.weight

    @property
    def room(self) -> int:
        """How many more lines it could take now."""
        return self._condition.room(self.in_flight)

    @property
    def known_good(self) -> Mapping[str, int]:
        """Windows that proved good, by model."""
        return self._condition.known_good

    def enter(self, lane: Lane) -> None:
        """Offer a lane."""
        self._condition.serve(lane.load.model)
        self._turns.enter(lane)

    def landed(self, lane: Lane) -> None:
        """A lane has a line less in flight, here or at another upstream."""
        self._turns.landed(lane)

    def leave(self, lane: Lane) -> None:
        """Take a lane away."""
        self._turns.leave(lane)
        self._trials.drop(lane)

    def adopt(self, suspects: list[Suspect]) -> None:
        """Test lines that may have killed another upstream."""
        self._trials.inquest.hand_over(suspects)
        self.pump()

    def pump(self) -> None:
        """Send until the window is full or nothing is ready."""
        self._pumped.set()
        if self._trials.pending and not self._trials.open and self.health.state is not State.OUT:
            self._trials.open = True
            self._spawn(self._hold_trials())
        while (taken := self._next()) is not None:
            self._spawn(self._run(*taken))

    def look(self) -> None:
        """Probe: is it there, and what does it serve?"""
        if not self._stopped:
            self._looked_at = self._loop.time()
            self._spawn(self._watch.look())

    def stop(self) -> None:
        """Send nothing more; what is in flight may land."""
        self._stopped = True
        self._watch.stop()
        self._condition.quotas.stop()
        for timer in (self._pump_timer, self._keep_timer):
            if timer is not None:
                timer.cancel()

    async def close(self) -> None:
        """Abandon what is in flight."""
        self.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.close()

    def snapshot(self) -> UpstreamSnapshot:
        """Its numbers of now."""
        return self._condition.snapshot(in_flight=self.in_flight, waiting=self._failures.waiting)

    # --- sending ---

    def _next(self) -> tuple[Lane, Work] | None:
        """A line to send now, counted as in flight; None if there is none or none may be sent."""
        if self.in_flight >= self._condition.limit or self._stopped or self.held:
            return None
        now = self._loop.time()
        if self._trials.pending or not self._may_send(now):
            return None
        reserved: int | None = 0
        quotas = self._condition.quotas
        while (lane := self._turns.best()) is not None and not self._all_kept():
            if not quotas or (reserved := quotas.reserve(lane, now=now)) is not None:
                break
            self._turns.leave(lane)
        else:
            return None
        work = lane.take(retries_first=self._retries_first(now)) if lane.retries else lane.take()
        if work.tries:
            self._budget.retried()
        else:
            self._budget.fresh()
        work.sent_at = now
        work.reserved = reserved or 0
        self.in_flight += 1
        self._turns.enter(lane)
        return lane, work

    def _retries_first(self, now: float) -> bool:
        """Whether a retry may go before a fresh line. On trial it may be what the upstream was out for."""
        return self.health.state is State.OK and self._budget.allows(now=now)

    def _all_kept(self) -> bool:
        """Whether all free slots are kept for lanes that will have lines in a moment."""
        kept = self._turns.kept
        if kept and self._keep_timer is None:
            self._keep_timer = self._loop.call_later(_KEPT_S, self._keep_no_more)
        return kept > 0 and self.in_flight + kept >= self._condition.limit

    def _keep_no_more(self) -> None:
        self._keep_timer = None
        self._turns.keep_none()
        self.pump()

    def _name_for(self, model: str) -> str | None:
        return self.catalogue.name_for(model)

    def _may_send(self, now: float) -> bool:
        if self.health.allows(self.in_flight, now=now):
            return True
        if self.health.state is not State.OUT and (wait := self.health.wait_s(now=now)) > 0:
            self._pump_in(wait)
        return False

    async def _run(self, lane: Lane, work: Work) -> None:
        """Send one line after another, as long as there is one to send."""
        task = cast("asyncio.Task[None]", asyncio.current_task())
        taken: tuple[Lane, Work] | None = (lane, work)
        while taken is not None:
            lane, work = taken
            outcome = await self._send(lane, work, task)
            await self._deliver(lane, work, outcome)
            taken = self._next()
            if self.in_flight < self._condition.limit:
                self.pump()

    async def _send(self, lane: Lane, work: Work, task: asyncio.Task[None]) -> Outcome | None:
        """One attempt, and what it says about the upstream. None when nobody waits for it any more."""
        work.task = task
        work.upstream = self.name
        lane.flying.add(work)
        try:
            outcome = await self._attempts.make(lane.load, work)
        except asyncio.CancelledError:
            if self._stopped or not (lane.abandoned or work.hedge):
                raise
            task.uncancel()
            return work.hedge
        finally:
            self.in_flight -= 1
            work.task = None
            lane.flying.discard(work)
            if work.second is not None:
                work.second.cancel()
        self._account(lane.load.model, work, outcome)
        return outcome

    def _account(self, model: str, work: Work, outcome: Outcome) -> None:
        """What the outcome says about the upstream."""
        now = self._loop.time()
        was = self.health.state
        if isinstance(outcome, Failed):
            self._condition.failed(model, work, outcome, in_flight=self.in_flight, now=now)
            self._look_after(outcome.failure, now)
        else:
            self._condition.answered(model, work, outcome, in_flight=self.in_flight, now=now)
        if self.health.state is not was:
            self._on_state(now)

    async def _deliver(self, lane: Lane, work: Work, outcome: Outcome | None) -> None:
        """What the outcome means for the line. None: nobody waits for it."""
        if isinstance(outcome, Failed):
            await self._failures.place(lane, work, outcome)
        elif outcome is None:
            lane.in_flight -= 1
        else:
            lane.settle(work, outcome)
        self._on_landed(lane)
        if lane.empty:
            lane.load.emptied()

    def _returned(self, lane: Lane) -> None:
        self._on_return(lane)
        if lane.empty:
            lane.load.emptied()

    # --- a second time ---

    def hedge(self, lane: Lane, work: Work) -> None:
        """Send a line that is in flight elsewhere here too; the first answer counts."""
        work.second = self._spawn(self._hedge(lane, work))

    async def _hedge(self, lane: Lane, work: Work) -> None:
        self.in_flight += 1
        began = self._loop.time()
        try:
            outcome = await self._attempts.make(lane.load, work)
        finally:
            self.in_flight -= 1
            self.pump()
        if isinstance(outcome, Answered):  # else the first attempt is still under way
            self._condition.stats.answered(self._loop.time() - began, outcome.usage)
            if work.task is not None:
                work.hedge, work.second = outcome, None
                work.task.cancel()

    # --- for lines on trial ---

    async def _hold_trials(self) -> None:
        await self._trials.hold()
        self.pump()

    async def _try(self, lane: Lane, work: Work) -> Outcome | None:
        work.sent_at = self._loop.time()
        work.reserved = 0
        self.in_flight += 1
        return await self._send(lane, work, cast("asyncio.Task[None]", asyncio.current_task()))

    async def _is_alive(self) -> bool:
        await self._watch.look(anew=True)
        return self.health.state is not State.OUT

    async def _until_ready(self) -> None:
        while self._stopped or self.held or self.health.state is State.OUT:
            self._pumped.clear()
            await self._pumped.wait()
        await asyncio.sleep(self.health.wait_s(now=self._loop.time()))

    async def _until_idle(self) -> None:
        await self._until_ready()
        while self.in_flight:
            self._pumped.clear()
            await self._pumped.wait()

    # --- what is known of it ---

    def _look_after(self, failure: Failure, now: float) -> None:
        """Look whether it is there, where a failure gives reason to."""
        if self.health.state is State.OUT:
            self._watch.look_in(self.health.wait_s(now=now), self.look)
        elif failure is Failure.LOST and now - self._looked_at > _LOOK_S_MIN:
            self.look()  # it may be dead; then the line that fell pays nothing
        elif self.health.failures % SUSPICIOUS_FAILURES == 0:
            self.look()

    def _on_models(self, models: list[str] | None) -> None:
        if not self._lists_models:
            if models is None:
                self.catalogue = Catalogue((ANY,), self.catalogue.aliases)
            elif models:  # an empty list is a server that is still starting; believe the last one
                self.catalogue = Catalogue(tuple(models), self.catalogue.aliases)
        self.health.back()

    def _on_trouble(self, failed: Failed) -> None:
        if failed.failure is Failure.BUSY:
            self.health.back()
        elif failed.failure is Failure.TIMED_OUT and self.in_flight:
            return  # many a server answers nothing else while it generates; the lines will tell
        else:
            was = self.health.state
            now = self._loop.time()
            self._condition.out(failed, now=now)
            if was is not State.OUT:
                self._on_state(now)

    def _on_looked(self) -> None:
        self._on_news()
        if self.health.state is State.OUT:
            now = self._loop.time()
            delay_s = self.health.wait_s(now=now)
            if now - self._out_since > _ORPHANS_S:
                self._trials.inquest.hand_over(self._on_orphans(self._trials.release()))
        else:
            delay_s = _DISCOVERY_S if self.catalogue.models is not None else _FIRST_DISCOVERY_S
        self._watch.look_in(delay_s, self.look)
        self.pump()

    def _on_state(self, now: float) -> None:
        """It is out, or back again."""
        self._condition.interrupted(now=now)
        if self.health.state is State.OUT:
            self._out_since = now
            self._failures.upstream_died(now=now)
        self._on_news()

    def _on_load(self, load: EngineLoad | None) -> None:
        self._condition.scraped(load, in_flight=self.in_flight, now=self._loop.time())
        self.pump()

    def _reenter(self, lanes: list[Lane]) -> None:
        for lane in lanes:
            self._on_return(lane)

    def _pump_in(self, delay_s: float) -> None:
        if self._pump_timer is None and not self._stopped:
            self._pump_timer = self._loop.call_later(delay_s, self._on_pump_timer)

    def _on_pump_timer(self) -> None:
        self._pump_timer = None
        self.pump()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._on_end)
        return task

    def _on_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (bug := task.exception()) is not None:
            self._on_bug(bug)

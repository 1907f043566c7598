"""One upstream, driven: as many lines in flight as it can take, none while it is out."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, cast

import msgspec

from bulkrate.config import Upstream
from bulkrate.core.body import edited
from bulkrate.core.health import SUSPICIOUS_FAILURES, Health, State
from bulkrate.core.models import ANY, Catalogue
from bulkrate.core.outcome import Answered, Failed, Failure, Outcome, Refused, judge
from bulkrate.core.retry import Budget, Retry, may_try_again, wait_s
from bulkrate.core.stats import REFUSED, UpstreamSnapshot, UpstreamStats
from bulkrate.core.turns import Turns
from bulkrate.core.window import Window
from bulkrate.dispatch.base import Load, Work
from bulkrate.dispatch.client import Client
from bulkrate.dispatch.http import AttemptError
from bulkrate.dispatch.inquest import Fallen, Inquest, Suspect, fell
from bulkrate.dispatch.lane import Lane
from bulkrate.dispatch.quotas import Quotas
from bulkrate.dispatch.watch import Watch
from bulkrate.errors import BlobError
from bulkrate.providers.engines import EngineLoad
from bulkrate.providers.ratelimits import RateLimits
from bulkrate.providers.usage import read_usage
from bulkrate.telemetry import traces

# How often an upstream is asked anew what it serves.
_DISCOVERY_S = 30.0
# And while it has not said so yet.
_FIRST_DISCOVERY_S = 1.0
# A lost connection is a reason to look at once, but not more often than this.
_LOOK_S_MIN = 0.5
# A line that fell this long before its upstream was found gone fell with it.
_FELL_S = 5.0
# An upstream that is gone for so long leaves its suspects to another.
_ORPHANS_S = 10.0
# A connection that breaks within so long a time was perhaps closed while it was idle; a line is believed so
# often.
_STALE_S = 0.5
_STALE_MAX = 5
# How much of the latest answer's time goes into the running latency.
_LATENCY_WEIGHT = 0.1
# How much of an answer's worth is in a token that was read, against one that was written.
_READ_WORTH = 0.15


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
        self.name = name
        self.weight = upstream.weight
        self.in_flight = 0
        self.latency_s = 0.0
        self.held = False
        self.health = Health()
        models = tuple(upstream.models) if upstream.models is not None else None
        self.catalogue = Catalogue(models, upstream.aliases)
        self.stats = UpstreamStats(stats_before)
        self._upstream = upstream
        self._client = Client(upstream, answer_bytes_max=answer_bytes_max)
        self._edits = bool(upstream.set_fields or upstream.drop_fields)
        self._known_windows = dict(known_windows or {})
        self._window: Window | None = None
        self._models: set[str] = set()
        self._quotas = Quotas(self._reenter)
        self._retry = retry
        self._budget = Budget(retry.budget)
        self._turns: Turns[Lane] = Turns(lambda lane: lane.in_flight, lambda lane: lane.ready)
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
        self._inquest = Inquest(
            attempt=self._test,
            deliver=self._tested,
            alive=self._is_alive,
            ready=self._until_ready,
            control=self._control,
            width=lambda: self.window_limit,
            on_return=self._returned,
        )
        self._waiting = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._pump_timer: asyncio.TimerHandle | None = None
        self._pumped = asyncio.Event()
        self._looked_at = float("-inf")
        self._out_since = float("-inf")
        self._stopped = False
        self._loop = asyncio.get_running_loop()
        self._spawn(self._watch.read_loads())

    @property
    def idle_share(self) -> float:
        """How busy it is for its weight; the least busy is offered a line first."""
        return self.in_flight / self.weight

    @property
    def window_limit(self) -> int:
        """How many attempts may be under way."""
        return self._window.limit if self._window is not None else 0

    @property
    def room(self) -> int:
        """How many more lines it could take now."""
        return max(0, self.window_limit - self.in_flight) if self.health.state is not State.OUT else 0

    @property
    def known_good(self) -> Mapping[str, int]:
        """Windows that proved good, by model."""
        good = self._window.known_good if self._window is not None else None
        return (
            self._known_windows if good is None else self._known_windows | dict.fromkeys(self._models, good)
        )

    def enter(self, lane: Lane) -> None:
        """Offer a lane."""
        if self._window is None:
            self._window = Window(
                maximum=self._upstream.max_in_flight,
                start=self._known_windows.get(lane.load.model),
                target_running=self._upstream.target_running,
            )
        self._models.add(lane.load.model)
        self._turns.enter(lane)

    def landed(self, lane: Lane) -> None:
        """A lane has a line less in flight, here or at another upstream."""
        self._turns.landed(lane)

    def leave(self, lane: Lane) -> None:
        """Take a lane away."""
        self._turns.leave(lane)
        self._inquest.drop(lane)

    def adopt(self, suspects: list[Suspect]) -> None:
        """Test lines that may have killed another upstream."""
        self._inquest.hand_over(suspects)
        self.pump()

    def pump(self) -> None:
        """Send until the window is full or nothing is ready."""
        self._pumped.set()
        if self._inquest.pending and not self._inquest.open and self.health.state is not State.OUT:
            self._spawn(self._inquest.run())
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
        self._quotas.stop()
        if self._pump_timer is not None:
            self._pump_timer.cancel()

    async def close(self) -> None:
        """Abandon what is in flight."""
        self.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.close()

    def snapshot(self) -> UpstreamSnapshot:
        """Its numbers of now."""
        return self.stats.snapshot(
            in_flight=self.in_flight,
            window=self.window_limit,
            mode=self._window.mode.name.lower() if self._window is not None else "idle",
            state=self.health.state.name.lower(),
            reason=self.health.reason,
            waiting=self._waiting,
        )

    # --- sending ---

    def _next(self) -> tuple[Lane, Work] | None:
        """A line to send now, counted as in flight; None if there is none or none may be sent."""
        window = self._window
        if window is None or self.in_flight >= window.limit or self._stopped or self.held:
            return None
        now = self._loop.time()
        if self._inquest.pending or not self._may_send(now):
            return None
        lane = self._turns.best()
        reserved: int | None = 0
        while lane is not None and self._quotas and (reserved := self._quotas.reserve(lane, now=now)) is None:
            self._turns.leave(lane)
            lane = self._turns.best()
        if lane is None:
            return None
        work = lane.take(retries_first=self._budget.allows(now=now)) if lane.retries else lane.take()
        if work.tries:
            self._budget.retried()
        else:
            self._budget.fresh()
        work.sent_at = now
        work.reserved = reserved or 0
        self.in_flight += 1
        self._turns.enter(lane)
        return lane, work

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
            if isinstance(outcome, Failed):
                await self._failed(lane, work, outcome)
            else:
                self._land(lane, work, outcome)
            taken = self._next()
            if self.in_flight < self.window_limit:
                self.pump()

    async def _send(self, lane: Lane, work: Work, task: asyncio.Task[None]) -> Outcome | None:
        """One attempt, and what it says about the upstream. None when nobody waits for it any more."""
        load = lane.load
        work.task = task
        work.upstream = self.name
        lane.flying.add(work)
        span = traces.attempt(load.batch_id, upstream=self.name, model=load.model)
        try:
            headers = None if span is None else span.headers
            answer = await self._client.post(load.endpoint, self._body(load, work), headers)
            outcome = judge(answer, read_usage)
        except AttemptError as error:
            outcome = error.failed
        except BlobError as error:
            outcome = Failed(Failure.ERROR, f"the line could not be read: {error}")
        except asyncio.CancelledError:
            if self._stopped or not (lane.abandoned or work.hedge):
                raise
            task.uncancel()
            return work.hedge
        except Exception as bug:  # noqa: BLE001  # a line that trips us is given up, not tried for ever
            outcome = Failed(Failure.ERROR, f"the line could not be sent ({type(bug).__name__})")
        finally:
            self.in_flight -= 1
            work.task = None
            lane.flying.discard(work)
            if work.second is not None:
                work.second.cancel()
        if not isinstance(outcome, Answered):
            outcome = await self._second_look(outcome)
        self._account(load.model, work, outcome)
        if span is not None:
            span.end(outcome)
        return outcome

    def _body(self, load: Load, work: Work) -> bytes:
        body = load.body(work)
        name = self.catalogue.name_for(load.model)
        if name is not None and name != load.model:
            put = {"model": name, **self._upstream.set_fields}
        elif self._edits:
            put = self._upstream.set_fields
        else:
            return body
        return edited(body, put=put, drop=self._upstream.drop_fields)

    async def _second_look(self, outcome: Refused | Failed) -> Outcome:
        """What does not show in the answer alone."""
        if isinstance(outcome, Refused):
            if outcome.answer.status == 403 and await self._refuses_our_key():
                detail = "the upstream does not accept our key (403)"
                return Failed(Failure.KEY_REFUSED, detail, outcome.answer)
        elif outcome.retry_after_s is not None:
            cut = min(outcome.retry_after_s, self._retry.retry_after_s_max)
            return msgspec.structs.replace(outcome, retry_after_s=cut)
        return outcome

    def _account(self, model: str, work: Work, outcome: Outcome) -> None:
        """What the outcome says about the upstream."""
        now = self._loop.time()
        took_s = now - work.sent_at
        was = self.health.state
        if isinstance(outcome, Failed):
            self._account_failure(model, work, outcome, took_s, now)
        else:
            self._account_answer(model, work, outcome, took_s, now)
        if self.health.state is not was:
            self._on_state(now)

    def _account_answer(
        self, model: str, work: Work, outcome: Answered | Refused, took_s: float, now: float
    ) -> None:
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
        if self._quotas:
            self._quotas.settle(model, work.reserved, used, now=now)
        if self._window is not None:
            self._window.answered(
                in_flight=self.in_flight + 1,
                tokens=worth,
                latency_s=took_s,
                first=not work.tries,
                now=now,
            )

    def _account_failure(self, model: str, work: Work, failed: Failed, took_s: float, now: float) -> None:
        self.stats.ended(failed.failure.code, took_s)
        if failed.answer is not None and failed.answer.limits is not None:
            self._hear(model, failed.answer.limits, now)
        if self._quotas:
            self._quotas.settle(model, work.reserved, 0, now=now)
        if failed.failure is Failure.BUSY:
            if self._quotas.refused(model, failed.retry_after_s, now=now):
                failed = msgspec.structs.replace(failed, retry_after_s=None)
            elif self._window is not None:
                self._window.busy(in_flight=self.in_flight + 1, now=now)
        elif failed.failure is Failure.TIMED_OUT and self._window is not None:
            self._window.busy(in_flight=self.in_flight + 1, now=now)  # it may have waited in a queue of ours
        jitter = random.random()  # noqa: S311
        self.health.failed(failed, first=not work.tries, now=now, jitter=jitter)
        if self.health.state is State.OUT:
            self._watch.look_in(self.health.wait_s(now=now), self.look)
        elif failed.failure is Failure.LOST and now - self._looked_at > _LOOK_S_MIN:
            self.look()  # it may be dead; then the line that fell pays nothing
        elif self.health.failures % SUSPICIOUS_FAILURES == 0:
            self.look()

    def _hear(self, model: str, limits: RateLimits, now: float) -> None:
        self._quotas.heard(model, limits, now=now)
        if self._window is not None:
            self._window.quota()

    # --- what it means for the line ---

    def _land(self, lane: Lane, work: Work, outcome: Answered | Refused | None) -> None:
        if outcome is None:
            lane.in_flight -= 1
        else:
            lane.settle(work, outcome)
        self._landed(lane)

    def _landed(self, lane: Lane) -> None:
        self._on_landed(lane)
        if lane.empty:
            lane.load.emptied()

    async def _failed(self, lane: Lane, work: Work, failed: Failed) -> None:
        work.tries += 1
        await self._place(lane, work, failed)
        self._landed(lane)

    async def _place(self, lane: Lane, work: Work, failed: Failed) -> None:
        """Where a line goes that failed."""
        now = self._loop.time()
        if lane.closed:
            lane.in_flight -= 1  # it has no final answer, and there will be no other try
            return
        if self._fell_with_it(work, failed, now):
            lane.wait(failed.detail)
            self._inquest.fell_with_it(lane, work)
            return
        seems_out = self.health.seems_out(now=now, outage_s=self._retry.outage_s)
        charged = failed.failure.costs_attempt and not seems_out and not self._was_stale(work, failed, now)
        work.attempts += charged
        if self._waits_with_all(lane, failed):
            lane.put_back(work)
            self._on_return(lane)
        elif may_try_again(failed, work.attempts, self._retry):
            self._try_later(lane, work, failed, charged=charged)
        elif self._may_be_an_outage(failed) and not await self._is_alive():
            work.attempts -= charged
            lane.wait(failed.detail)
            self._inquest.fell_with_it(lane, work)
        else:
            lane.settle(work, failed)

    def _fell_with_it(self, work: Work, failed: Failed, now: float) -> bool:
        """Whether a line fell when its upstream did."""
        if fell(failed):
            work.fell_at = now
        elif failed.failure is not Failure.UNREACHABLE:
            return False
        return self.health.state is State.OUT and now - work.fell_at < _FELL_S

    def _was_stale(self, work: Work, failed: Failed, now: float) -> bool:
        """Whether a connection was probably closed before we used it: that is found out in a round trip, and
        nobody's fault. Told a few times of one line, it is believed no more.
        """
        if not failed.unanswered or now - work.sent_at > _STALE_S or work.stale >= _STALE_MAX:
            return False
        work.stale += 1
        return True

    def _waits_with_all(self, lane: Lane, failed: Failed) -> bool:
        """Whether the line goes again as soon as any other may, since all of them wait."""
        by_quota = failed.failure is Failure.BUSY and self._quotas.binds(lane.load.model)
        return by_quota or failed.failure.holds_upstream(failed.retry_after_s)

    def _may_be_an_outage(self, failed: Failed) -> bool:
        return failed.failure is Failure.LOST or self.health.failures >= self._retry.attempts_max

    def _try_later(self, lane: Lane, work: Work, failed: Failed, *, charged: bool) -> None:
        failures = work.attempts if charged else work.tries
        jitter = random.random()  # noqa: S311
        delay = wait_s(failures, self._retry, jitter=jitter, retry_after_s=failed.retry_after_s)
        lane.wait(failed.detail)
        self._waiting += 1

        def back() -> None:
            self._waiting -= 1
            lane.put_by(work)
            self._returned(lane)

        timer = self._loop.call_later(delay, back)
        if fell(failed):
            self._inquest.fell(Fallen(lane, work, self._loop.time(), timer, charged))

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
            answer = await self._client.post(lane.load.endpoint, self._body(lane.load, work))
        except (AttemptError, BlobError):
            return  # the first attempt is still under way
        finally:
            self.in_flight -= 1
            self.pump()
        outcome = judge(answer, read_usage)
        if isinstance(outcome, Answered):
            self.stats.answered(self._loop.time() - began, outcome.usage)
            if work.task is not None:
                work.hedge, work.second = outcome, None
                work.task.cancel()

    # --- for the inquest ---

    async def _test(self, lane: Lane, work: Work) -> Outcome | None:
        work.sent_at = self._loop.time()
        work.reserved = 0
        self.in_flight += 1
        return await self._send(lane, work, cast("asyncio.Task[None]", asyncio.current_task()))

    async def _tested(self, lane: Lane, work: Work, outcome: Outcome | None) -> None:
        if isinstance(outcome, Failed):
            await self._failed(lane, work, outcome)
        else:
            self._land(lane, work, outcome)

    def _control(self) -> Suspect | None:
        lane = self._turns.best()
        if lane is None:
            return None
        work = lane.take()
        self._turns.enter(lane)
        return lane, work

    async def _is_alive(self) -> bool:
        await self._watch.look(anew=True)
        return self.health.state is not State.OUT

    async def _until_ready(self) -> None:
        while self._stopped or self.held or self.health.state is State.OUT:
            self._pumped.clear()
            await self._pumped.wait()
        await asyncio.sleep(self.health.wait_s(now=self._loop.time()))

    # --- what is known of it ---

    async def _refuses_our_key(self) -> bool:
        """Whether a 403 is about us rather than about the line: then even the model list is refused."""
        try:
            await self._client.models()
        except AttemptError as error:
            return error.failed.failure is Failure.KEY_REFUSED
        return False

    def _on_models(self, models: list[str] | None) -> None:
        if self._upstream.models is None:
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
            self.health.out(failed.detail, now=now, jitter=random.random())  # noqa: S311
            if was is not State.OUT:
                self._on_state(now)

    def _on_looked(self) -> None:
        self._on_news()
        if self.health.state is State.OUT:
            now = self._loop.time()
            delay_s = self.health.wait_s(now=now)
            if now - self._out_since > _ORPHANS_S:
                self._inquest.hand_over(self._on_orphans(self._inquest.release()))
        else:
            delay_s = _DISCOVERY_S if self.catalogue.models is not None else _FIRST_DISCOVERY_S
        self._watch.look_in(delay_s, self.look)
        self.pump()

    def _on_state(self, now: float) -> None:
        """It is out, or back again."""
        if self._window is not None:
            self._window.interrupted(now=now)
        if self.health.state is State.OUT:
            self._out_since = now
            self._waiting -= self._inquest.died(now=now)
        self._on_news()

    def _on_load(self, load: EngineLoad | None) -> None:
        if self._window is not None:
            self._window.scraped(load, in_flight=self.in_flight, now=self._loop.time())
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

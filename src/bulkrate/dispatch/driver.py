"""One upstream, driven: as many lines in flight as it can take, none while it is out."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, cast

from bulkrate.config import Upstream
from bulkrate.core.body import with_model
from bulkrate.core.health import SUSPICIOUS_FAILURES, Health, State
from bulkrate.core.models import ANY, Catalogue
from bulkrate.core.outcome import Answered, Failed, Failure, Outcome, Refused, judge
from bulkrate.core.retry import Retry, may_try_again, wait_s
from bulkrate.core.turns import Turns
from bulkrate.core.window import Window
from bulkrate.dispatch.base import Work
from bulkrate.dispatch.client import AttemptError, Client
from bulkrate.dispatch.lane import Lane
from bulkrate.errors import BlobError
from bulkrate.providers.usage import read_usage

# How often an upstream is asked anew what it serves.
_DISCOVERY_S = 30.0
# And while it has not said so yet.
_FIRST_DISCOVERY_S = 1.0
# How much of the latest answer's time goes into the running latency.
_LATENCY_WEIGHT = 0.1


class Driver:
    """Pulls lines for one upstream from the lanes it can serve.

    `on_news` is called whenever what is known of the upstream changes; `on_landed` when a lane has a line
    less in flight; `on_return` when it has a line again that another upstream might take; `on_bug` with what
    should never have been raised.
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
    ) -> None:
        self.name = name
        self.weight = upstream.weight
        self.in_flight = 0
        self.latency_s = 0.0
        self.held = False
        self.health = Health()
        models = tuple(upstream.models) if upstream.models is not None else None
        self.catalogue = Catalogue(models, upstream.aliases)
        self._discovers = upstream.models is None
        self._client = Client(upstream, answer_bytes_max=answer_bytes_max)
        self._window = Window(upstream.max_in_flight)
        self._retry = retry
        self._turns: Turns[Lane] = Turns(lambda lane: lane.in_flight, lambda lane: lane.ready)
        self._on_news = on_news
        self._on_landed = on_landed
        self._on_return = on_return
        self._on_bug = on_bug
        self._tasks: set[asyncio.Task[None]] = set()
        self._pump_timer: asyncio.TimerHandle | None = None
        self._look_timer: asyncio.TimerHandle | None = None
        self._probing = False
        self._stopped = False
        self._loop = asyncio.get_running_loop()

    @property
    def idle_share(self) -> float:
        """How busy it is for its weight; the least busy is offered a line first."""
        return self.in_flight / self.weight

    def enter(self, lane: Lane) -> None:
        """Offer a lane."""
        self._turns.enter(lane)

    def landed(self, lane: Lane) -> None:
        """A lane has a line less in flight, here or at another upstream."""
        self._turns.landed(lane)

    def leave(self, lane: Lane) -> None:
        """Take a lane away."""
        self._turns.leave(lane)

    def pump(self) -> None:
        """Send until the window is full or nothing is ready."""
        while (taken := self._next()) is not None:
            self._spawn(self._run(*taken))

    def look(self) -> None:
        """Probe: is it there, and what does it serve?"""
        if not self._probing and not self._stopped:
            self._probing = True
            self._spawn(self._probe())

    def stop(self) -> None:
        """Send nothing more; what is in flight may land."""
        self._stopped = True
        for timer in (self._pump_timer, self._look_timer):
            if timer is not None:
                timer.cancel()

    async def close(self) -> None:
        """Abandon what is in flight."""
        self.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.close()

    def _next(self) -> tuple[Lane, Work] | None:
        if self._stopped or self.held or self.in_flight >= self._window.limit:
            return None
        now = self._loop.time()
        if not self.health.allows(self.in_flight, now=now):
            if self.health.state is not State.OUT and (wait := self.health.wait_s(now=now)) > 0:
                self._pump_in(wait)
            return None
        lane = self._turns.best()
        if lane is None:
            return None
        work = lane.take()
        self.in_flight += 1
        self._turns.enter(lane)
        return lane, work

    async def _run(self, lane: Lane, work: Work) -> None:
        """Send one line after another, as long as there is one to send."""
        taken: tuple[Lane, Work] | None = (lane, work)
        while taken is not None:
            lane, work = taken
            try:
                outcome = await self._attempt_unless_abandoned(lane, work)
            except Exception as bug:  # noqa: BLE001  # a line that trips us is given up, not tried for ever
                outcome = Failed(Failure.ERROR, f"the line could not be sent ({type(bug).__name__})")
            finally:
                self.in_flight -= 1
            if outcome is None:
                lane.in_flight -= 1
            else:
                self._account(work, outcome)
                await self._deliver(lane, work, outcome)
            self._on_landed(lane)
            if lane.empty:
                lane.load.emptied()
            taken = self._next()
        self.pump()

    async def _attempt_unless_abandoned(self, lane: Lane, work: Work) -> Outcome | None:
        """What came of an attempt; None when its lane was abandoned meanwhile."""
        task = cast("asyncio.Task[None]", asyncio.current_task())
        lane.attempts.add(task)
        try:
            return await self._attempt(lane, work)
        except asyncio.CancelledError:
            if not lane.abandoned or self._stopped:
                raise
            task.uncancel()
            return None
        finally:
            lane.attempts.discard(task)

    async def _attempt(self, lane: Lane, work: Work) -> Outcome:
        load = lane.load
        try:
            body = load.body(work)
        except BlobError as error:
            return Failed(Failure.ERROR, f"the line could not be read: {error}")
        name = self.catalogue.name_for(load.model)
        if name is not None and name != load.model:
            body = with_model(body, name)
        started = self._loop.time()
        try:
            answer = await self._client.post(load.endpoint, body)
        except AttemptError as error:
            return error.failed
        self.latency_s += (self._loop.time() - started - self.latency_s) * _LATENCY_WEIGHT
        outcome = judge(answer, read_usage)
        if isinstance(outcome, Refused) and answer.status == 403 and await self._refuses_our_key():
            return Failed(Failure.KEY_REFUSED, "the upstream does not accept our key (403)", answer)
        if isinstance(outcome, Failed) and outcome.retry_after_s is not None:
            return replace(outcome, retry_after_s=min(outcome.retry_after_s, self._retry.retry_after_s_max))
        return outcome

    def _account(self, work: Work, outcome: Outcome) -> None:
        """What the outcome says about the upstream."""
        was = self.health.state
        now = self._loop.time()
        if isinstance(outcome, Failed):
            if outcome.failure is Failure.BUSY:
                self._window.busy(self.in_flight + 1, now=now)
            first = work.tries == 0
            self.health.failed(outcome, first=first, now=now, jitter=random.random())  # noqa: S311
            if self.health.state is State.OUT:
                self._look_in(self.health.wait_s(now=now))
            elif self.health.failures % SUSPICIOUS_FAILURES == 0:
                self.look()
        else:
            self._window.answered()
            self.health.succeeded()
        if self.health.state is not was:
            self._on_news()

    async def _deliver(self, lane: Lane, work: Work, outcome: Outcome) -> None:
        """What the outcome means for the line."""
        work.tries += 1
        if isinstance(outcome, Answered | Refused):
            lane.settle(work, outcome)
            return
        seems_out = self.health.seems_out(now=self._loop.time(), outage_s=self._retry.outage_s)
        if outcome.failure.costs_attempt and not seems_out:
            work.attempts += 1
        if lane.closed:
            lane.in_flight -= 1  # it has no final answer, and there will be no other try
        elif outcome.failure.holds_upstream(outcome.retry_after_s):
            lane.put_back(work)
            self._on_return(lane)
        elif may_try_again(outcome, work.attempts, self._retry):
            charged = outcome.failure.costs_attempt and not seems_out
            self._try_later(lane, work, outcome, failures=work.attempts if charged else work.tries)
        elif self.health.failures >= self._retry.attempts_max and await self._is_out():
            work.attempts -= 1  # an outage after all
            lane.put_back(work)
            self._on_return(lane)
        else:
            lane.settle(work, outcome)

    def _try_later(self, lane: Lane, work: Work, outcome: Failed, *, failures: int) -> None:
        jitter = random.random()  # noqa: S311
        delay = wait_s(failures, self._retry, jitter=jitter, retry_after_s=outcome.retry_after_s)
        lane.wait(outcome.detail)

        def back() -> None:
            lane.put_by(work)
            self._on_return(lane)
            if lane.empty:
                lane.load.emptied()

        self._loop.call_later(delay, back)

    async def _is_out(self) -> bool:
        try:
            await self._client.models()
        except AttemptError as error:
            self._account_probe(error.failed)
        if self.health.state is not State.OUT:
            return False
        self._look_in(self.health.wait_s(now=self._loop.time()))
        self._on_news()
        return True

    async def _refuses_our_key(self) -> bool:
        """Whether a 403 is about us rather than about the line: then even the model list is refused."""
        try:
            await self._client.models()
        except AttemptError as error:
            return error.failed.failure is Failure.KEY_REFUSED
        return False

    async def _probe(self) -> None:
        try:
            models = await self._client.models()
        except AttemptError as error:
            self._account_probe(error.failed)
        else:
            self._learn(models)
            self.health.back()
        self._probing = False
        self._on_news()
        if self.health.state is State.OUT:
            self._look_in(self.health.wait_s(now=self._loop.time()))
        else:
            self._look_in(_DISCOVERY_S if self.catalogue.models is not None else _FIRST_DISCOVERY_S)
        self.pump()

    def _account_probe(self, failed: Failed) -> None:
        if failed.failure is Failure.BUSY:
            self.health.back()
        elif failed.failure is Failure.TIMED_OUT and self.in_flight:
            return  # many a server answers nothing else while it generates; the lines will tell
        else:
            self.health.out(failed.detail, now=self._loop.time(), jitter=random.random())  # noqa: S311

    def _learn(self, models: list[str] | None) -> None:
        if not self._discovers:
            return
        if models is None:
            self.catalogue = Catalogue((ANY,), self.catalogue.aliases)
        elif models:  # an empty list is a server that is still starting; believe the last one
            self.catalogue = Catalogue(tuple(models), self.catalogue.aliases)

    def _pump_in(self, delay_s: float) -> None:
        if self._pump_timer is None and not self._stopped:
            self._pump_timer = self._loop.call_later(delay_s, self._on_pump_timer)

    def _on_pump_timer(self) -> None:
        self._pump_timer = None
        self.pump()

    def _look_in(self, delay_s: float) -> None:
        if self._look_timer is not None:
            self._look_timer.cancel()
        if not self._stopped:
            self._look_timer = self._loop.call_later(delay_s, self.look)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._on_end)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (bug := task.exception()) is not None:
            self._on_bug(bug)

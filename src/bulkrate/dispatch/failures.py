"""What becomes of a line whose attempt failed: sent again at once, later, tested alone, or given up.

Whose fault it was decides: an upstream that is out, busy or dying costs no line an attempt. One that is busy
for one line alone does.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from bulkrate.core.health import State
from bulkrate.core.outcome import Failed, Failure
from bulkrate.core.refusals import Refusals
from bulkrate.core.retry import Retry, may_try_again, wait_s
from bulkrate.dispatch.base import Work
from bulkrate.dispatch.condition import Condition
from bulkrate.dispatch.inquest import Fallen, fell
from bulkrate.dispatch.lane import Lane
from bulkrate.dispatch.trials import Trials

# A line that fell this long before its upstream was found gone fell with it.
_FELL_S = 5.0
# A connection that breaks within so long a time was perhaps closed while it was idle; a line is believed so
# often.
_STALE_S = 0.5
_STALE_MAX = 5


class Failures:
    """Places the lines that failed at one upstream.

    `on_return` is told when a lane has a line back; `is_alive` looks whether the upstream is there.
    """

    def __init__(
        self,
        retry: Retry,
        condition: Condition,
        trials: Trials,
        *,
        on_return: Callable[[Lane], None],
        is_alive: Callable[[], Awaitable[bool]],
    ) -> None:
        #: Lines that wait to be tried again.
        self.waiting = 0
        self._retry = retry
        self._condition = condition
        self._trials = trials
        self._on_return = on_return
        self._is_alive = is_alive
        self._loop = asyncio.get_running_loop()

    async def place(self, lane: Lane, work: Work, failed: Failed) -> None:
        """Put a line where it belongs now; it was in flight until here."""
        work.tries += 1
        now = self._loop.time()
        if lane.closed:
            lane.in_flight -= 1  # it has no final answer, and there will be no other try
            return
        if self._fell_with_it(work, failed, now):
            lane.wait(failed.detail)
            self._trials.inquest.fell_with_it(lane, work)
            return
        seems_out = self._condition.health.seems_out(now=now, outage_s=self._retry.outage_s)
        refusals = work.refusals if failed.failure is Failure.BUSY else None
        singled_out = refusals is not None and refusals.singled_out
        costs_attempt = failed.failure.costs_attempt or singled_out
        charged = costs_attempt and not seems_out and not _was_stale(work, failed, now)
        work.attempts += charged
        if self._waits_with_all(lane, failed, refusals):
            lane.put_back(work)
            self._on_return(lane)
        elif not costs_attempt or may_try_again(work.attempts, self._retry):
            delay_s = self._delay_s(work, failed, refusals, charged=charged)
            self._try_later(lane, work, failed, delay_s, charged=charged)
        elif self._may_be_an_outage(failed) and not await self._is_alive():
            work.attempts -= charged
            lane.wait(failed.detail)
            self._trials.inquest.fell_with_it(lane, work)
        elif self._may_be_a_victim(lane, work, failed) and self._trials.hearing.take(lane, work):
            return
        else:
            lane.settle(work, failed)

    def upstream_died(self, *, now: float) -> None:
        """What fell just before fell with it."""
        self.waiting -= self._trials.inquest.died(now=now)

    def _fell_with_it(self, work: Work, failed: Failed, now: float) -> bool:
        """Whether a line fell when its upstream did."""
        if not fell(failed) and failed.failure is not Failure.UNREACHABLE:
            return False
        return (
            self._condition.health.state is State.OUT
            and bool(work.falls)
            and now - work.falls[-1][1] < _FELL_S
        )

    def _waits_with_all(self, lane: Lane, failed: Failed, refusals: Refusals | None) -> bool:
        """Whether the line goes again as soon as any other may, since all of them wait.

        One that is refused once more, after all had to wait for it, lets the others go first: it may be the
        reason why they had to.
        """
        if refusals is not None and refusals.repeated:
            return False
        by_quota = failed.failure is Failure.BUSY and self._condition.quotas.binds(lane.load.model)
        return by_quota or failed.failure.holds_upstream(failed.retry_after_s)

    def _may_be_a_victim(self, lane: Lane, work: Work, failed: Failed) -> bool:
        """Whether everybody failed whenever it did, so that another line may be why."""
        return failed.failure.is_fall and self._condition.failed_together(lane.load.model, work.falls)

    def _may_be_an_outage(self, failed: Failed) -> bool:
        return failed.failure is Failure.LOST or self._condition.health.failures >= self._retry.attempts_max

    def _delay_s(self, work: Work, failed: Failed, refusals: Refusals | None, *, charged: bool) -> float:
        repeated = refusals is not None and refusals.repeated
        return wait_s(
            # To be singled out takes many tries, and a line shall not come back the sooner for it.
            work.attempts if charged and refusals is None else work.tries,
            self._retry,
            jitter=random.random(),  # noqa: S311
            retry_after_s=failed.retry_after_s,
            spread=1.0 if repeated else 0.1,
        )

    def _try_later(self, lane: Lane, work: Work, failed: Failed, delay_s: float, *, charged: bool) -> None:
        lane.wait(failed.detail)
        self.waiting += 1
        fallen = Fallen(lane, work, self._loop.time(), charged)
        fallen.timer = self._loop.call_later(delay_s, self._back, fallen)
        if fell(failed):
            self._trials.inquest.fell(fallen)

    def _back(self, fallen: Fallen) -> None:
        fallen.timer = None
        self.waiting -= 1
        fallen.lane.put_by(fallen.work)
        self._on_return(fallen.lane)


def _was_stale(work: Work, failed: Failed, now: float) -> bool:
    """Whether a connection was probably closed before we used it: that is found out in a round trip, and
    nobody's fault. Told a few times of one line, it is believed no more.
    """
    if not failed.unanswered or now - work.sent_at > _STALE_S or work.stale >= _STALE_MAX:
        return False
    work.stale += 1
    return True

"""**send**: a worker claims lines, sends them, and commits what comes back.

What is not committed did not happen: a worker that dies costs the lines in flight and those answered since
its last commit, and nothing else. A worker that was declared dead finds out at its next commit (`Fenced`) and
ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

import msgspec

from bulkrate.core.deadline import stop_line
from bulkrate.core.health import State
from bulkrate.core.lifecycle import Status
from bulkrate.core.stats import CommitSnapshot, CommitStats
from bulkrate.dispatch import Dispatcher, Driver
from bulkrate.engine.bell import Waiter
from bulkrate.engine.context import Context
from bulkrate.engine.log import Group, LogWriter
from bulkrate.engine.loops.claim import Claims
from bulkrate.engine.loops.shards import TELL_S, ActiveBatch
from bulkrate.engine.loops.tenure import Tenure
from bulkrate.engine.points import reach
from bulkrate.engine.roles import sender_number
from bulkrate.engine.telling import Teller
from bulkrate.errors import BlobError, Contradiction, Fenced, StoreError
from bulkrate.store.records import UpstreamRecord
from bulkrate.telemetry import log_event

# A commit that takes longer stops the sending until it is through: what a crash costs stays within a second.
_COMMIT_S_MAX = 0.5
_TROUBLE_WAIT_S = 1.0
# How old the verdict may be whether a line can still be answered in time; it is asked for with every line.
_JUDGED_S = 0.1


class Sender:
    """One worker, from its enlistment to its end."""

    def __init__(self, context: Context, epoch: int, role: str) -> None:
        self._context = context
        self._epoch = epoch
        self._role = role
        self._timing = context.settings.timing
        self._writer = LogWriter(context.store, context.blobs, epoch)
        self._teller = Teller(context, role)
        self._writer.stats = CommitStats(self._teller.commits_before)
        self._unsafe: list[Group] = []
        self._dispatcher = Dispatcher(
            context.settings,
            on_news=self._on_upstream_news,
            may_be_served=self._may_be_served,
            counted=self._teller.before,
        )
        self._claims = Claims(
            context,
            epoch,
            self._dispatcher,
            may_send=self._may_send,
            on_change=self._on_change,
            unsafe=lambda: [group.commit for group in self._unsafe],
        )
        self._tenure = Tenure(context, epoch, sender_number(role), self._dispatcher)
        self._news: dict[str, UpstreamRecord] = {}
        self._changed = asyncio.Event()
        self._finished_one = asyncio.Event()
        self._stopping = asyncio.Event()
        #: Batches that expire before this moment have crossed their stop line, as of `_judged_at`.
        self._too_late = 0.0
        self._judged_at = float("-inf")
        self._landed = False
        self._troubled = False
        self._held = False
        self._look_around_at = 0.0
        self._waiter: Waiter | None = None
        self._loop = asyncio.get_running_loop()

    async def run(self, waiter: Waiter) -> None:
        """Send until stopped. Raises `Fenced` when another worker has taken over."""
        self._waiter = waiter
        async with asyncio.TaskGroup() as group:
            loops = [
                group.create_task(self._look_loop(waiter)),
                group.create_task(self._claim_loop()),
                group.create_task(self._renew_loop()),
                group.create_task(self._watch()),
                group.create_task(self._teller.keep_telling(self._dispatcher.snapshots, self._commits)),
            ]
            group.create_task(self._commit_loop())
            await self._stopping.wait()
            await self._land()
            for task in loops:
                task.cancel()
            # Never cancelled: a commit goes on in its thread, and would be made a second time.
            self._landed = True
            self._changed.set()
            self._finished_one.set()
        await self._last_commit()
        with contextlib.suppress(StoreError):
            await self._tenure.record_all()
        await self._dispatcher.close()
        await self._context.ask(self._context.store.work.bury, self._epoch)
        self._writer.close()

    def stop(self) -> None:
        """Send nothing more, let what is in flight land, commit, end."""
        self._stopping.set()

    def _commits(self) -> CommitSnapshot:
        gathered = sum(batch.log.waiting_lines for batch in self._claims.batches.values())
        return self._writer.stats.snapshot(queued=gathered + sum(len(group.ledger) for group in self._unsafe))

    # --- claiming and letting go ---

    async def _look_loop(self, waiter: Waiter) -> None:
        while not self._stopping.is_set():
            try:
                await self._look_round()
            except Fenced:
                raise
            except (StoreError, BlobError) as error:
                await self._in_trouble(error)
            await waiter.wait(self._timing.poll_s)

    async def _look_round(self) -> None:
        await self._close_stopped()
        if self._loop.time() >= self._look_around_at:
            for driver in await self._tenure.look():
                self._claims.let_go_of(driver)
            await self._claims.look_around()
            self._look_around_at = self._loop.time() + self._timing.poll_s / 2
        await self._claims.look()

    async def _claim_loop(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._claims.keep_stocked()
            except Fenced:
                raise
            except (StoreError, BlobError) as error:
                await self._in_trouble(error)
                self._claims.wake()

    async def _close_stopped(self) -> None:
        """Stop sending the lines of batches that are cancelled or late; let go of what has landed or waited
        long enough.
        """
        known = list(self._claims.batches)
        if not known:
            return
        statuses = await self._context.ask(self._context.store.batches.statuses, known)
        for batch_id in known:
            batch = self._claims.batches.get(batch_id)
            if batch is not None and not statuses.get(batch_id, Status.CANCELLED).sending:
                self._close(batch)

    def _close(self, batch: ActiveBatch) -> None:
        now = self._loop.time()
        for active in batch.shards.values():
            self._claims.let_go(active)
            waited_s = now - (active.closing_since or now)
            if active.lane.in_flight and waited_s > self._timing.grace_s:
                active.load.abandoned = True
                self._dispatcher.abandon(active.lane)
                self._on_change(True)

    def _may_be_served(self, model: str) -> bool:
        return self._claims.may_be_served(model)

    def _may_send(self, expires_at: int) -> bool:
        now = self._loop.time()
        if now - self._judged_at > _JUDGED_S:
            self._judged_at = now
            self._too_late = self._context.clock() - stop_line(0.0, self._dispatcher.latency_s)
        return self._too_late < expires_at

    # --- committing ---

    def _on_change(self, finished: bool) -> None:
        if not self._changed.is_set():
            self._changed.set()
        if finished:
            self._finished_one.set()

    async def _commit_loop(self) -> None:
        while not self._landed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TELL_S):
                    await self._changed.wait()
            self._changed.clear()
            await self._gather_more()
            await self._commit()

    async def _gather_more(self) -> None:
        """Wait a moment for company, unless nothing more is coming."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timing.commit_s_max):
                await self._finished_one.wait()
        self._finished_one.clear()

    async def _commit(self) -> None:
        ended = self._gather()
        if self._unsafe:
            reach("commit.gathered")
        news, self._news = self._news, {}
        slow = self._loop.call_later(_COMMIT_S_MAX, self._hold)
        try:
            for record in news.values():
                await self._context.ask(self._context.store.upstreams.report, record)
            if self._unsafe:
                await self._context.ask(
                    self._writer.commit,
                    self._unsafe,
                    now=self._context.clock(),
                    lease_s=self._timing.lease_s,
                )
            elif self._troubled:
                await self._renew()
        except (Fenced, Contradiction):
            raise  # who comes after us begins with what the records say
        except (StoreError, BlobError) as error:
            self._news = news | self._news
            await self._in_trouble(error)
            return
        finally:
            slow.cancel()
        self._unsafe = []
        self._forget_ended()
        self._out_of_trouble()
        if ended:
            self._context.bells.clerk.ring()

    def _forget_ended(self) -> None:
        """Close the logs of batches without a shard. Not before all of theirs counts: opened again too
        early, a log would begin at an end that is no longer the last.
        """
        batches = self._claims.batches
        for batch_id in [batch_id for batch_id, batch in batches.items() if not batch.shards]:
            del batches[batch_id]

    def _gather(self) -> bool:
        """Hand over what every batch has gathered; whether a shard ended by it."""
        now = self._loop.time()
        ended = False
        for batch in self._claims.batches.values():
            news = []
            for number, active in list(batch.shards.items()):
                over = active.over
                news += active.news()
                if over:
                    ended = True
                    batch.forget(number)
                    self._dispatcher.leave(active.lane)
                    active.load.close()
            moving = batch.moving(now)
            if batch.log.waiting_lines or moving is not None or any(one.done or one.released for one in news):
                self._unsafe.append(batch.log.hand_over(tuple(news), moving))
        return ended

    async def _renew_loop(self) -> None:
        """Keep the lease while a commit is slow or fails. Raises `Fenced`."""
        while True:
            await asyncio.sleep(self._timing.lease_s / 3)
            try:
                await self._renew()
            except Fenced:
                raise
            except StoreError as error:
                await self._in_trouble(error)

    async def _renew(self) -> None:
        await self._context.ask(
            self._context.store.work.renew,
            self._epoch,
            now=self._context.clock(),
            lease_s=self._timing.lease_s,
        )

    async def _watch(self) -> None:
        """Raise what broke the dispatcher: a new process goes on from the last commit."""
        raise await self._dispatcher.broken

    # --- trouble of our own ---

    async def _in_trouble(self, error: StoreError | BlobError) -> None:
        """Stand still, say so, and try again: nothing gathered is given up."""
        self._hold()
        if not self._troubled:
            log_event(logging.ERROR, "sender_paused", reason=str(error))
        self._troubled = True
        self._context.board.say(self._role, str(error))
        await asyncio.sleep(_TROUBLE_WAIT_S)
        self._changed.set()

    def _out_of_trouble(self) -> None:
        if self._held:
            self._held = False
            self._dispatcher.hold(False)
        if self._troubled:
            self._troubled = False
            self._context.board.say(self._role, None)
            log_event(logging.WARNING, "sender_resumed")

    def _hold(self) -> None:
        self._held = True
        self._dispatcher.hold(True)

    def _on_upstream_news(self, driver: Driver) -> None:
        if self._waiter is not None:
            self._waiter.ring()  # it may serve lines that wait in the store
        models = driver.catalogue.models
        self._news[driver.name] = UpstreamRecord(
            name=driver.name,
            models=None if models is None else msgspec.json.encode(models),
            paused=driver.health.reason if driver.health.state is State.OUT else None,
            key_refused=driver.health.state is State.OUT and driver.health.key_refused,
            seen_at=self._context.clock(),
        )
        self._changed.set()
        self._finished_one.set()
        self._teller.tell(self._dispatcher.snapshots(), self._commits())

    # --- ending ---

    async def _land(self) -> None:
        """Send nothing more, and wait for what is in flight as long as `timing.grace_s`."""
        self._dispatcher.stop()
        deadline = self._loop.time() + self._timing.grace_s
        while self._dispatcher.in_flight and self._loop.time() < deadline:
            await asyncio.sleep(0.02)

    async def _last_commit(self) -> None:
        for active in self._claims.shards():
            active.claiming = False
            active.load.abandoned = active.lane.in_flight > 0
            active.closing_since = self._loop.time()
        for _ in range(3):
            await self._commit()
            if not self._unsafe:
                return

"""**send**: a worker claims shards, sends their lines, and commits what comes back.

What is not committed did not happen: a worker that dies costs the lines in flight and those answered since
its last commit, and nothing else. A worker that was declared dead finds out at its next commit (`Fenced`) and
ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque

import msgspec

from bulkrate.core.deadline import stop_line
from bulkrate.core.health import State
from bulkrate.core.lifecycle import Status
from bulkrate.dispatch import Dispatcher, Driver, Lane
from bulkrate.engine.bell import Waiter
from bulkrate.engine.context import Context
from bulkrate.engine.log import BatchLog, Group, LogWriter, finished_lines
from bulkrate.engine.loops.load import ShardLoad
from bulkrate.engine.loops.shards import TELL_S, ActiveBatch, ActiveShard
from bulkrate.engine.points import reach
from bulkrate.errors import BlobError, Fenced, StoreError
from bulkrate.store.records import ClaimedShard, UpstreamRecord
from bulkrate.telemetry import log_event

ROLE = "sender"
# Shards driven at once. More wait in the store; each takes about 20 kB here.
_SHARDS_MAX = 4_096
_CLAIMED_AT_ONCE = 256
# A commit that takes longer stops the sending until it is through: what a crash costs stays within a second.
_COMMIT_S_MAX = 0.5
_TROUBLE_WAIT_S = 1.0


class Sender:
    """One worker, from its enlistment to its end."""

    def __init__(self, context: Context, epoch: int) -> None:
        self._context = context
        self._epoch = epoch
        self._timing = context.settings.timing
        self._writer = LogWriter(context.store, context.blobs, epoch)
        self._batches: dict[str, ActiveBatch] = {}
        self._not_begun: deque[ClaimedShard] = deque()
        self._unreadable: set[tuple[str, int]] = set()
        self._unsafe: list[Group] = []
        self._dispatcher = Dispatcher(context.settings, on_news=self._on_upstream_news)
        self._news: dict[str, UpstreamRecord] = {}
        self._changed = asyncio.Event()
        self._finished_one = asyncio.Event()
        self._stopping = asyncio.Event()
        self._landed = False
        self._troubled = False
        self._held = False
        self._loop = asyncio.get_running_loop()

    async def run(self, waiter: Waiter) -> None:
        """Send until stopped. Raises `Fenced` when another worker has taken over."""
        self._dispatcher.start()
        async with asyncio.TaskGroup() as group:
            loops = [
                group.create_task(self._claim_loop(waiter)),
                group.create_task(self._renew_loop()),
                group.create_task(self._watch()),
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
        await self._dispatcher.close()
        await self._context.ask(self._context.store.work.bury, self._epoch)
        self._writer.close()

    def stop(self) -> None:
        """Send nothing more, let what is in flight land, commit, end."""
        self._stopping.set()

    # --- claiming and letting go ---

    async def _claim_loop(self, waiter: Waiter) -> None:
        while True:
            try:
                await self._look_round()
            except Fenced:
                raise
            except (StoreError, BlobError) as error:
                await self._in_trouble(error)
            await waiter.wait(self._timing.poll_s)

    async def _look_round(self) -> None:
        await self._close_stopped()
        await self._begin_all()
        room = _SHARDS_MAX - len(self._not_begun) - sum(len(batch.shards) for batch in self._batches.values())
        while room > 0 and not self._stopping.is_set():
            claimed = await self._context.ask(
                self._context.store.work.claim,
                self._epoch,
                limit=min(room, _CLAIMED_AT_ONCE),
                now=self._context.clock(),
                lease_s=self._timing.lease_s,
            )
            if claimed:
                reach("send.claimed")
            self._not_begun.extend(claimed)
            await self._begin_all()
            room -= len(claimed)
            if len(claimed) < _CLAIMED_AT_ONCE:
                break

    async def _begin_all(self) -> None:
        """Begin every shard that was claimed; one that cannot be read now is tried again later."""
        for _ in range(len(self._not_begun)):
            claimed = self._not_begun[0]
            try:
                await self._begin(claimed)
            except BlobError as error:
                self._say_unreadable(claimed, error)
                self._not_begun.append(claimed)
            self._not_begun.popleft()

    async def _begin(self, claimed: ClaimedShard) -> None:
        shard = claimed.shard
        batch = self._batches.get(shard.batch_id)
        if batch is None:
            batch = self._batches[shard.batch_id] = await self._context.ask(self._open_batch, shard.batch_id)
        plan = self._context.blobs.open(shard.plan)
        try:
            source = self._context.blobs.open(claimed.input_blob or "gone")
        except BlobError:
            plan.close()
            raise
        load = ShardLoad(
            claimed,
            plan=plan,
            source=source,
            finished=batch.finished,
            log=batch.log,
            may_send=self._may_send,
            on_change=self._on_change,
        )
        lane = Lane(load)
        batch.shards[shard.shard] = ActiveShard(load, lane, told_at=self._loop.time())
        self._dispatcher.enter(lane)

    def _say_unreadable(self, claimed: ClaimedShard, error: BlobError) -> None:
        which = (claimed.shard.batch_id, claimed.shard.shard)
        if which not in self._unreadable:
            self._unreadable.add(which)
            log_event(logging.ERROR, "shard_unreadable", batch=which[0], shard=which[1], reason=str(error))

    def _open_batch(self, batch_id: str) -> ActiveBatch:
        extents = self._context.store.work.extents(batch_id)
        finished = finished_lines(self._context.blobs, extents)
        ends = self._context.store.work.log_ends(self._epoch, batch_id)
        return ActiveBatch(BatchLog(batch_id, ends), finished)

    async def _close_stopped(self) -> None:
        """Stop sending the lines of batches that are cancelled or late; let go of what has landed or waited
        long enough.
        """
        known = {*self._batches, *(claimed.shard.batch_id for claimed in self._not_begun)}
        if not known:
            return
        statuses = await self._context.ask(self._context.store.batches.statuses, list(known))
        stopped = {name for name in known if not statuses.get(name, Status.CANCELLED).sending}
        for batch_id in stopped & self._batches.keys():
            self._close(self._batches[batch_id])
        for claimed in [claimed for claimed in self._not_begun if claimed.shard.batch_id in stopped]:
            shard = claimed.shard
            await self._context.ask(
                self._context.store.work.release, self._epoch, shard.batch_id, shard.shard
            )
            self._not_begun.remove(claimed)

    def _close(self, batch: ActiveBatch) -> None:
        now = self._loop.time()
        for active in batch.shards.values():
            if active.closing_since is None:
                active.closing_since = now
                self._dispatcher.leave(active.lane)
            landed = active.lane.in_flight == 0
            if landed or now - active.closing_since > self._timing.grace_s:
                if not landed:
                    active.load.abandoned = True
                    self._dispatcher.abandon(active.lane)
                self._changed.set()
                self._finished_one.set()

    def _may_send(self, expires_at: int) -> bool:
        return self._context.clock() < stop_line(expires_at, self._dispatcher.latency_s)

    # --- committing ---

    def _on_change(self, finished: bool) -> None:
        self._changed.set()
        if finished or self._dispatcher.in_flight == 0:
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
        except Fenced:
            raise
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
        for batch_id in [batch_id for batch_id, batch in self._batches.items() if not batch.shards]:
            del self._batches[batch_id]

    def _gather(self) -> bool:
        """Hand over what every batch has gathered; whether a shard ended by it."""
        now = self._loop.time()
        ended = False
        for batch in self._batches.values():
            news = []
            for number, active in list(batch.shards.items()):
                over = active.over
                if over or active.has_news(now):
                    news.append(active.tell(now))
                if over:
                    ended = True
                    del batch.shards[number]
                    self._dispatcher.leave(active.lane)
                    active.load.close()
            group = batch.log.hand_over(tuple(news))
            if group.ledger or news:
                self._unsafe.append(group)
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
        self._context.board.say(ROLE, str(error))
        await asyncio.sleep(_TROUBLE_WAIT_S)
        self._changed.set()

    def _out_of_trouble(self) -> None:
        if self._held:
            self._held = False
            self._dispatcher.hold(False)
        if self._troubled:
            self._troubled = False
            self._context.board.say(ROLE, None)
            log_event(logging.WARNING, "sender_resumed")

    def _hold(self) -> None:
        self._held = True
        self._dispatcher.hold(True)

    def _on_upstream_news(self, driver: Driver) -> None:
        models = driver.catalogue.models
        self._news[driver.name] = UpstreamRecord(
            name=driver.name,
            models=None if models is None else msgspec.json.encode(models),
            paused=driver.health.reason if driver.health.state is State.OUT else None,
            seen_at=self._context.clock(),
        )
        self._changed.set()
        self._finished_one.set()

    # --- ending ---

    async def _land(self) -> None:
        """Send nothing more, and wait for what is in flight as long as `timing.grace_s`."""
        self._dispatcher.stop()
        deadline = self._loop.time() + self._timing.grace_s
        while self._dispatcher.in_flight and self._loop.time() < deadline:
            await asyncio.sleep(0.02)

    async def _last_commit(self) -> None:
        for batch in self._batches.values():
            for active in batch.shards.values():
                active.load.abandoned = active.lane.in_flight > 0
                active.closing_since = self._loop.time()
        for _ in range(3):
            await self._commit()
            if not self._unsafe:
                return

"""The worker that drives all delegated upstreams, from its enlistment to its end.

It may die at any moment, and needs no time to end: nothing that matters is in its memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict

import msgspec

from bulkrate.core.lifecycle import Status
from bulkrate.core.stats import NOTHING, CommitSnapshot, CommitStats, RemoteSnapshot, UpstreamSnapshot
from bulkrate.engine.bell import Waiter
from bulkrate.engine.context import Context
from bulkrate.engine.delegate.driven import Driven, LogLocks, driven
from bulkrate.engine.delegate.plan import plan
from bulkrate.engine.delegate.shepherd import Shepherd
from bulkrate.engine.log import LogWriter
from bulkrate.engine.roles import DELEGATE
from bulkrate.engine.routes import Routes
from bulkrate.engine.telling import Teller
from bulkrate.engine.upstreams import known_upstreams
from bulkrate.errors import BlobError, Fenced, StoreError
from bulkrate.store.records import Moving, UpstreamRecord
from bulkrate.telemetry import log_event

_TROUBLE_WAIT_S = 1.0


class Delegate:
    """One worker of delegated upstreams."""

    def __init__(self, context: Context, epoch: int) -> None:
        self._context = context
        self._epoch = epoch
        self._writer = LogWriter(context.store, context.blobs, epoch)
        self._teller = Teller(context, DELEGATE)
        self._writer.stats = CommitStats(self._teller.commits_before)
        self._log_locks = LogLocks()
        self._routes = Routes(context.settings, clock=context.clock)
        self._driven: dict[str, Driven] = {}
        self._shepherds: dict[str, Shepherd] = {}
        self._statuses: dict[str, Status] = {}
        self._told: dict[str, Moving] = {}
        self._reported: dict[str, str | None] = {}
        self._trouble: str | None = None
        self._stopping = asyncio.Event()

    async def run(self, waiter: Waiter) -> None:
        """Work until stopped. Raises `Fenced` when another worker has taken over."""
        async with asyncio.TaskGroup() as group:
            loops = [
                group.create_task(self._main_loop(waiter, group)),
                group.create_task(self._renew_loop()),
                group.create_task(self._teller.keep_telling(self._conditions, self._commits, self._remotes)),
            ]
            await self._stopping.wait()
            for task in loops:
                task.cancel()
            for shepherd in self._shepherds.values():
                shepherd.stop()
        for one in self._driven.values():
            await one.http.close()
        await self._context.ask(self._context.store.work.bury, self._epoch)
        self._writer.close()

    def stop(self) -> None:
        """End soon; whatever was begun is found again by the next."""
        self._stopping.set()

    def _conditions(self) -> dict[str, UpstreamSnapshot]:
        """Whether the upstreams can be used; they have no window."""
        return {
            name: msgspec.structs.replace(
                NOTHING, state="ok" if one.paused is None else "out", reason=one.paused
            )
            for name, one in self._driven.items()
        }

    def _remotes(self) -> dict[str, RemoteSnapshot]:
        return {name: one.snapshot() for name, one in self._driven.items()}

    def _commits(self) -> CommitSnapshot:
        return self._writer.stats.snapshot(queued=0)

    async def _main_loop(self, waiter: Waiter, tasks: asyncio.TaskGroup) -> None:
        while True:
            try:
                await self._round(tasks)
            except Fenced:
                raise
            except (StoreError, BlobError) as error:
                self._on_trouble(str(error))
                await asyncio.sleep(_TROUBLE_WAIT_S)
            else:
                self._on_trouble(None)
            await waiter.wait(self._context.settings.timing.poll_s)

    async def _round(self, tasks: asyncio.TaskGroup) -> None:
        await self._take_upstreams(tasks)
        self._routes.update(await self._context.ask(known_upstreams, self._context))
        await self._wake_changed()
        for name, one in self._driven.items():
            for remote in await plan(one):
                self._shepherds[name].take_on(remote)
        await self._report()
        await self._tell()

    async def _take_upstreams(self, tasks: asyncio.TaskGroup) -> None:
        """Take those that nobody drives, and what was begun there."""
        free = [name for name in self._context.settings.delegated if name not in self._driven]
        if not free:
            return
        store = self._context.store
        await self._context.ask(store.upstreams.take, self._epoch, free, most=len(free))
        holders = await self._context.ask(store.upstreams.holders)
        # Also those that were taken before, when what is known of them could not be read.
        for name in (name for name in free if holders.get(name) == self._epoch):
            log_event(logging.INFO, "upstream_taken", upstream=name)
            one = await driven(
                self._context,
                self._epoch,
                name,
                routes=self._routes,
                writer=self._writer,
                log_locks=self._log_locks,
            )
            shepherd = Shepherd(one, tasks, on_trouble=self._on_trouble)
            for remote in await self._context.ask(store.remotes.open, name):
                shepherd.take_on(remote)
            self._driven[name], self._shepherds[name] = one, shepherd

    async def _wake_changed(self) -> None:
        """What concerns a batch whose status has changed, or of which its provider has news, is due now."""
        theirs = {remote.batch_id for one in self._driven.values() for remote in one.remotes.values()}
        if not theirs:
            self._statuses = {}
            return
        statuses = await self._context.ask(self._context.store.batches.statuses, sorted(theirs))
        for name, one in self._driven.items():
            hastened: set[int] = set()
            if one.upstream.webhook_secret is not None:
                hastened = set(await self._context.ask(self._context.store.remotes.hastened, name))
            for remote in list(one.remotes.values()):
                status = statuses.get(remote.batch_id)
                known = self._statuses.get(remote.batch_id, status)
                if status != known or remote.seq in hastened:
                    self._shepherds[name].wake(remote)
        self._statuses = statuses

    async def _report(self) -> None:
        """Tell how the upstreams are, for validation and /health."""
        for name, one in self._driven.items():
            if name in self._reported and self._reported[name] == one.paused:
                continue
            known = UpstreamRecord(
                name=name,
                models=None,
                paused=one.paused,
                key_refused=one.key_refused,
                seen_at=self._context.clock(),
            )
            await self._context.ask(self._context.store.upstreams.report, known)
            self._reported[name] = one.paused

    async def _tell(self) -> None:
        """Tell how batches move here, and what each upstream makes them wait for, where that has changed."""
        there: Counter[str] = Counter()
        waiting: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for name, one in self._driven.items():
            for remote in one.remotes.values():
                if remote.collected_at is None:
                    left = remote.lines - remote.completed - remote.failed if remote.remote_id else 0
                    there[remote.batch_id] += max(0, left)
                    if remote.waiting is not None:
                        waiting[remote.batch_id].setdefault(name, remote.waiting)
            for batch_id, why in one.held_back.items():
                waiting[batch_id].setdefault(name, why)
        moving = {
            batch_id: Moving(in_flight=there[batch_id], waiting="; ".join(waiting[batch_id].values()) or None)
            for batch_id in {*there, *waiting}
        }
        for batch_id in {*moving, *self._told}:
            now = moving.get(batch_id, Moving())
            if now != self._told.get(batch_id, Moving()):
                tell = self._context.store.remotes.tell
                await self._context.ask(tell, self._epoch, batch_id, now)
        self._told = moving

    def _on_trouble(self, reason: str | None) -> None:
        """Say that our own records or bytes fail, or that they work again."""
        if reason is not None and self._trouble is None:
            log_event(logging.ERROR, "delegate_paused", reason=reason)
        elif reason is None and self._trouble is not None:
            log_event(logging.WARNING, "delegate_resumed")
        if reason != self._trouble:
            self._context.board.say(DELEGATE, reason)
        self._trouble = reason

    async def _renew_loop(self) -> None:
        """Keep the lease, however long anything else takes. Raises `Fenced`."""
        lease_s = self._context.settings.timing.lease_s
        renew = self._context.store.work.renew
        while True:
            try:
                await self._context.ask(renew, self._epoch, now=self._context.clock(), lease_s=lease_s)
            except Fenced:
                raise
            except StoreError as error:
                self._on_trouble(str(error))
            await asyncio.sleep(lease_s / 3)

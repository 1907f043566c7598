"""One delegated upstream in the hands of its worker: what every step of a group's way needs."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from bulkrate.config import Upstream, vendor_of
from bulkrate.core.delegation import Terms, Wish, pause_s, wish
from bulkrate.core.lifecycle import Status
from bulkrate.core.models import Catalogue
from bulkrate.core.stats import PLANNED, RemoteSnapshot
from bulkrate.engine.context import Context
from bulkrate.engine.delegate.http import RemoteHttp
from bulkrate.engine.delegate.quota import Quotas, is_under_way
from bulkrate.engine.log import LogWriter
from bulkrate.engine.routes import Routes, terms_of
from bulkrate.providers.batch.base import Remote, Shard, Vendor
from bulkrate.store.records import BatchRecord, RemoteRecord
from bulkrate.telemetry import log_event

#: By the id of the batch; one that nobody holds or waits for goes by itself.
LogLocks = WeakValueDictionary[str, asyncio.Lock]


@dataclass
class Tries:
    """What was tried in vain for one remote batch, since it was last heard of. Not in the store: after a
    restart everything has its chances again.
    """

    #: Looks since the last change, and those in a row that found nothing; calls in a row that failed; result
    #: files that were not whole.
    looks: int = 0
    vain_looks: int = 0
    failures: int = 0
    rereads: int = 0
    #: Since when nobody wants it any more.
    unwanted_since: float | None = None


@dataclass
class Driven:
    """An upstream, its hands, and the remote batches that have something left to do."""

    context: Context
    epoch: int
    name: str
    upstream: Upstream
    vendor: Vendor
    http: RemoteHttp
    terms: Terms
    quotas: Quotas
    routes: Routes
    writer: LogWriter
    #: One at a time writes into a batch's log, which all upstreams of a worker share.
    log_locks: LogLocks
    catalogue: Catalogue
    remotes: dict[int, RemoteRecord] = field(default_factory=dict)
    tries: defaultdict[int, Tries] = field(default_factory=lambda: defaultdict(Tries))
    #: Batches with lines for this upstream that have not been claimed, by model, and why they wait.
    waiting: dict[str, set[str]] = field(default_factory=dict)
    held_back: dict[str, str] = field(default_factory=dict)
    #: Shards whose plan or input is gone.
    unreadable: set[tuple[str, int]] = field(default_factory=set)
    #: Why nothing works here, in words for people.
    paused: str | None = None
    key_refused: bool = False

    def log_lock(self, batch_id: str) -> asyncio.Lock:
        """Held by whoever writes outcomes of a batch."""
        return self.log_locks.setdefault(batch_id, asyncio.Lock())

    async def note(self, remote: RemoteRecord, **facts: Any) -> RemoteRecord:
        """Write down facts. Raises `Fenced`, `StoreError`."""
        noted = await self.context.ask(self.context.store.remotes.note, self.epoch, remote, **facts)
        self.remotes[remote.seq] = noted
        return noted

    async def remember(self) -> None:
        """Write down what refusals taught of the quotas. Raises `Fenced`, `StoreError`."""
        for lesson in self.quotas.unkept():
            await self.context.ask(self.context.store.remotes.learn, self.epoch, lesson)
            self.quotas.kept(lesson)

    async def batch(self, remote: RemoteRecord) -> BatchRecord:
        """The batch that a remote batch is for."""
        batch = await self.context.ask(self.context.store.batches.by_id, remote.batch_id)
        assert batch is not None  # noqa: S101  # batches are never removed
        return batch

    def wish(self, remote: RemoteRecord, batch: BatchRecord) -> Wish:
        """What is wanted of a remote batch now."""
        return wish(
            Status(batch.status),
            self.terms,
            served_online=self.routes.served_online(remote.model),
            now=self.context.clock(),
            expires_at=batch.expires_at,
        )

    def shard(self, remote: RemoteRecord, batch: BatchRecord) -> Shard:
        """A remote batch as its provider sees it."""
        return Shard(
            id=remote.id,
            fingerprint=remote.fingerprint,
            endpoint=batch.endpoint,
            model=remote.sent_as,
            lines=remote.lines,
            size=remote.size,
            window=self.upstream.window or self.quotas.limits(remote.sent_as).window,
        )

    def name_of(self, model: str) -> str:
        """What the provider calls a model."""
        return self.catalogue.name_for(model) or model

    def next_look(self, looks: int) -> float:
        """When to look again, after so many looks: Unix seconds."""
        pause = pause_s(looks, first_s=self.upstream.poll_s, jitter=random.random())  # noqa: S311
        return self.context.clock() + pause

    def snapshot(self) -> RemoteSnapshot:
        """What is under way here, in numbers."""
        there = [one for one in self.remotes.values() if one.collected_at is None]
        enqueued: Counter[str] = Counter()
        for one in there:
            enqueued[one.sent_as] += one.tokens if is_under_way(one) else 0
        now = self.context.clock()
        known = {model: self.quotas.enqueued_tokens_max(model, now=now) for model in enqueued}
        return RemoteSnapshot(
            batches=Counter(PLANNED if one.remote_id is None else one.state or PLANNED for one in there),
            lines=sum(one.lines for one in there if one.remote_id is not None),
            enqueued=enqueued,
            limits={model: limit for model, limit in known.items() if limit is not None},
            heard_at=self.http.heard_at,
        )

    def about(self, remote: RemoteRecord) -> dict[str, Any]:
        """Which remote batch it is, for the log."""
        return {
            "upstream": self.name,
            "batch": remote.batch_id,
            "remote": remote.id,
            "remote_id": remote.remote_id,
        }

    def pause(self, reason: str | None, *, key_refused: bool = False) -> None:
        """Say why nothing works here, and whether it is our key; or that it does again."""
        if (reason is None) != (self.paused is None):
            if reason is None:
                log_event(logging.WARNING, "upstream_back", upstream=self.name)
            else:
                log_event(logging.WARNING, "upstream_out", upstream=self.name, reason=reason)
        self.paused, self.key_refused = reason, key_refused


def facts_of(remote: Remote) -> dict[str, Any]:
    """What a provider said of a remote batch, as facts to be written down."""
    return {
        "remote_id": remote.id,
        "state": remote.state.value,
        "completed": remote.counts.completed,
        "failed": remote.counts.failed,
    }


async def driven(
    context: Context, epoch: int, name: str, *, routes: Routes, writer: LogWriter, log_locks: LogLocks
) -> Driven:
    """Begin to drive a delegated upstream, with what was learnt of its quotas before. Raises `StoreError`."""
    upstream = context.settings.upstreams[name]
    vendor = vendor_of(upstream)
    return Driven(
        context=context,
        epoch=epoch,
        name=name,
        upstream=upstream,
        vendor=vendor,
        http=RemoteHttp(upstream, vendor, clock=context.clock),
        terms=terms_of(upstream),
        quotas=Quotas(name, upstream, vendor, await context.ask(context.store.remotes.lessons, name)),
        routes=routes,
        writer=writer,
        log_locks=log_locks,
        catalogue=Catalogue(tuple(upstream.models or ()), upstream.aliases),
    )

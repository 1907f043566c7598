"""**plan**: lines that wait are claimed, cut into groups that fit the provider, and become intents.

An intent is committed when its content is durable, and before the provider hears of it.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from bulkrate.core.delegation import Room
from bulkrate.core.plan import Fate, LineSet
from bulkrate.engine import paths
from bulkrate.engine.delegate.content import ContentWriter, Written, lines_key
from bulkrate.engine.delegate.driven import Driven
from bulkrate.engine.delegate.quota import HOUR_S
from bulkrate.engine.ids import new_id
from bulkrate.engine.log import BatchLog, FinishedLines
from bulkrate.engine.points import reach
from bulkrate.errors import BlobMissing
from bulkrate.store.records import BatchCommit, LogEnds, Offer, Range, RangeNews, RemoteRecord, Want
from bulkrate.telemetry import log_event
from bulkrate.wire.lines import failure_line, line_id

# Groups of a model that are written and not created yet: more would only fill the disk.
_AHEAD_MAX = 4
# Claims for one group. Each takes what is left of older groups, of which most lines may be done.
_CLAIMS_MAX = 50
_OFFERS_MAX = 4_096


async def plan(driven: Driven) -> list[RemoteRecord]:
    """Make intents of what waits, as far as there is room. Raises `Fenced`, `StoreError`, `BlobError`."""
    context, name = driven.context, driven.name
    offers = await context.ask(
        context.store.work.offers,
        serves=lambda model: driven.catalogue.name_for(model) is not None,
        wants=lambda offer: driven.routes.goes_to(name, offer),
        limit=_OFFERS_MAX,
    )
    driven.held_back = {}
    driven.waiting = {}
    for offer in offers:
        driven.waiting.setdefault(driven.name_of(offer.shard.model), set()).add(offer.shard.batch_id)
    made: list[RemoteRecord] = []
    if not offers:
        return made
    there = await _look(driven)
    # Who has least at the provider comes first.
    for offer in sorted(offers, key=lambda offer: there.enqueued[offer.shard.batch_id]):
        if (room := _room(driven, offer, there)) is not None:
            try:
                planned = await _plan_one(driven, offer, room)
            except BlobMissing as error:
                _say_unreadable(driven, offer, error)
            else:
                made += planned
                there.ahead.update(one.sent_as for one in planned)
                there.creations += len(planned)
    return made


@dataclass
class _There:
    """What is at the provider, or on its way, as a round begins: the tokens of each batch, the groups of each
    model that are written and not created, and creations of the last hour with those to come.
    """

    enqueued: Counter[str]
    ahead: Counter[str]
    creations: int


async def _look(driven: Driven) -> _There:
    enqueued: Counter[str] = Counter()
    ahead: Counter[str] = Counter()
    for one in driven.remotes.values():
        if one.collected_at is None:
            enqueued[one.batch_id] += one.tokens
            ahead[one.sent_as] += one.create_asked_at is None
    to_come = ahead.total()
    created = driven.context.store.remotes.created_since
    since = driven.context.clock() - HOUR_S
    used = await driven.context.ask(created, driven.name, since=since)
    return _There(enqueued=enqueued, ahead=ahead, creations=used + to_come)


def _say_unreadable(driven: Driven, offer: Offer, error: BlobMissing) -> None:
    """A shard whose plan or input is gone holds up no other. It is told of once."""
    which = (offer.shard.batch_id, offer.shard.shard)
    if which not in driven.unreadable:
        driven.unreadable.add(which)
        batch_id, shard = which
        log_event(logging.ERROR, "shard_unreadable", batch=batch_id, shard=shard, reason=str(error))


def _room(driven: Driven, offer: Offer, there: _There) -> Room | None:
    """How large a group of these lines may be now; None when they have to wait, and why is told."""
    now = driven.context.clock()
    model = driven.name_of(offer.shard.model)
    if there.ahead[model] >= _AHEAD_MAX:
        return None
    creates = driven.quotas.limits(model).creates_per_hour
    if creates is not None and there.creations >= creates:
        driven.held_back[offer.shard.batch_id] = (
            f"{driven.name}: it takes {creates} new batches an hour, and these were had"
        )
        return None
    found = driven.quotas.portion(
        model,
        offer.shard.batch_id,
        remotes=driven.remotes.values(),
        waiting=driven.waiting.get(model, set()),
        now=now,
    )
    if found.tokens == 0:
        driven.held_back[offer.shard.batch_id] = f"{driven.name}: {found.why}"
        return None
    return driven.quotas.room(model, found, now=now)


async def _plan_one(driven: Driven, offer: Offer, room: Room) -> list[RemoteRecord]:
    """One group of a shard's lines; none when none of them can be sent, and then that is told."""
    context, store = driven.context, driven.context.store
    remote_id = new_id("rb_")
    content = paths.of_content(offer.shard.batch_id, remote_id)
    held: list[Range] = []
    try:
        with contextlib.ExitStack() as stack:
            plan = context.blobs.open(offer.shard.plan)
            stack.callback(plan.close)
            source = context.blobs.open(offer.input_blob or "gone")
            stack.callback(source.close)
            name = driven.name_of(offer.shard.model)
            writer = ContentWriter(
                context.blobs,
                content,
                remote=remote_id,
                vendor=driven.vendor,
                endpoint=offer.endpoint,
                model=name if name != offer.shard.model else None,
                room=room,
                put=driven.upstream.set_fields,
                drop=driven.upstream.drop_fields,
                source=source,
            )
            stack.callback(writer.discard)
            finished = FinishedLines(context.blobs)
            while not writer.full and len(held) < _CLAIMS_MAX:
                claimed = await _claim(driven, offer, room.lines - writer.lines)
                extents = await context.ask(store.work.extents, offer.shard.batch_id)
                done = await context.ask(finished.catch_up, extents)
                same = [one for one in claimed if _past(one) == _past((held or claimed)[0])]
                for one in same:
                    await context.ask(writer.add, one, plan, LineSet() if one.fresh else done)
                held += claimed
                if not claimed or len(same) < len(claimed):
                    break
            if not held:
                return []
            written = await context.ask(writer.keep)
            await _tell_unfit(driven, offer, writer, written)
        if not written.lines:
            await _let_go(driven, offer, written.ranges)
            if writer.full:
                reason = f"{driven.name}: its quota of enqueued tokens has no room for the next line"
                driven.held_back[offer.shard.batch_id] = reason
            return []
        reach("delegate.written")
        return [await _intend(driven, offer, remote_id, content, written)]
    except BaseException:
        context.blobs.delete(content)
        context.blobs.delete(lines_key(content))
        await context.ask(store.remotes.release_all, driven.epoch)
        raise


def _past(one: Range) -> tuple[int, int]:
    """Only lines with the same past go out together: they have the same left to hope for."""
    return one.generation, one.rejections


async def _claim(driven: Driven, offer: Offer, lines: int) -> list[Range]:
    want = Want(batch_id=offer.shard.batch_id, shard=offer.shard.shard, lines=max(1, lines))
    context = driven.context
    return await context.ask(
        context.store.work.claim,
        driven.epoch,
        [want],
        now=context.clock(),
        lease_s=context.settings.timing.lease_s,
    )


async def _intend(
    driven: Driven, offer: Offer, remote_id: str, content: str, written: Written
) -> RemoteRecord:
    context = driven.context
    meant = RemoteRecord(
        id=remote_id,
        upstream=driven.name,
        batch_id=offer.shard.batch_id,
        shard=offer.shard.shard,
        model=offer.shard.model,
        sent_as=driven.name_of(offer.shard.model),
        generation=written.ranges[0].generation + 1,
        rejections=written.ranges[0].rejections,
        content=content,
        fingerprint=written.fingerprint,
        lines=written.lines,
        size=written.size,
        tokens=written.tokens,
        intended_at=context.clock(),
    )
    remote = await context.ask(context.store.remotes.intend, driven.epoch, meant, written.ranges)
    driven.remotes[remote.seq] = remote
    reach("delegate.intended")
    return remote


async def _tell_unfit(driven: Driven, offer: Offer, writer: ContentWriter, written: Written) -> None:
    """An error line for each line that this provider cannot be asked."""
    if not writer.unfit:
        return
    batch_id = offer.shard.batch_id
    async with driven.log_lock(batch_id):
        ends = await driven.context.ask(driven.context.store.work.log_ends, driven.epoch, batch_id)
        log = BatchLog(batch_id, ends)
        for unfit in writer.unfit:
            ident = line_id(batch_id, unfit.planned.line)
            record = failure_line(ident, unfit.custom_id, unfit.code, unfit.message)
            log.add(unfit.planned.line, Fate.FAILED, record)
        first = written.ranges[0]
        group = log.hand_over((RangeNews(shard=first.shard, start=first.start),))
        context = driven.context
        lease_s = context.settings.timing.lease_s
        await context.ask(driven.writer.commit, [group], now=context.clock(), lease_s=lease_s)


async def _let_go(driven: Driven, offer: Offer, done: Iterable[Range]) -> None:
    """Of these ranges every line has an outcome; what else was claimed is free."""
    context = driven.context
    news = tuple(RangeNews(shard=one.shard, start=one.start, done=True) for one in done)
    commit = BatchCommit(batch_id=offer.shard.batch_id, since=LogEnds(), until=LogEnds(), ranges=news)
    lease_s = context.settings.timing.lease_s
    await context.ask(context.store.work.commit, driven.epoch, [commit], now=context.clock(), lease_s=lease_s)
    await context.ask(context.store.remotes.release_all, driven.epoch)
    context.bells.clerk.ring()

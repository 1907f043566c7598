"""**collect**: the results of an ended remote batch become outcomes of our lines, each exactly once.

Every result is matched by its `custom_id` against the plan of the content. What counts already is passed
over, so that a collection that died half-way, or a file that was truncated, is read again from its beginning.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import replace

from bulkrate.blobs import Reader
from bulkrate.core.body import on_one_line
from bulkrate.core.delegation import Wish, last_chance
from bulkrate.core.lines import LineCutter
from bulkrate.core.plan import Fate, LineSet, Planned
from bulkrate.core.validate import take_apart
from bulkrate.engine.delegate.content import ContentLines, unfinished
from bulkrate.engine.delegate.driven import Driven
from bulkrate.engine.delegate.verdict import Verdict, verdict_of
from bulkrate.engine.log import BatchLog, FinishedLines
from bulkrate.engine.points import reach
from bulkrate.errors import BlobMissing
from bulkrate.providers.batch import base
from bulkrate.providers.batch.base import (
    Garbled,
    LineFault,
    Refusal,
    Remote,
    RemoteRefused,
    Result,
    Shard,
    Why,
)
from bulkrate.providers.batch.languages.answers import error_body
from bulkrate.providers.usage import Usage, read_usage
from bulkrate.store.records import BatchRecord, Range, RangeNews, RemoteRecord
from bulkrate.telemetry import log_event
from bulkrate.wire.lines import failure_line, line_id, response_line

# What is gathered before it is committed.
_COMMIT_LINES = 5_000
_COMMIT_BYTES = 16 << 20
# How often files are read again that seem to lack something.
_REREADS_MAX = 3
_NAMED_MAX = 10
_NO_FILES = Refusal(why=Why.GONE, message="the provider counts answers and shows no file of them")


class Truncated(Exception):
    """There are fewer results than the provider counts, or half a line; they are to be read again."""


async def collect(driven: Driven, remote: RemoteRecord, batch: BatchRecord, seen: Remote) -> RemoteRecord:
    """Let everything count that an ended remote batch has answered. Raises `RemoteRefused`, `Truncated`."""
    async with driven.log_lock(remote.batch_id), contextlib.AsyncExitStack() as stack:
        collection = await _begin(driven, remote, batch, stack)
        gone = await collection.read(seen)
        await collection.blame(seen.faults)
        verdict = verdict_of(
            driven, remote, seen, answered=bool(collection.found), last=collection.last, gone=gone
        )
        return await collection.finish(verdict)


async def give_up(driven: Driven, remote: RemoteRecord, batch: BatchRecord, verdict: Verdict) -> RemoteRecord:
    """End a remote batch of which nothing can be read, as it was refused or is gone: its lines are errors."""
    async with driven.log_lock(remote.batch_id), contextlib.AsyncExitStack() as stack:
        collection = await _begin(driven, remote, batch, stack)
        return await collection.finish(verdict)


async def _begin(
    driven: Driven, remote: RemoteRecord, batch: BatchRecord, stack: contextlib.AsyncExitStack
) -> Collection:
    context, store = driven.context, driven.context.store
    lines = await context.ask(ContentLines, context.blobs, remote.content)
    extents = await context.ask(store.work.extents, remote.batch_id)
    finished = await context.ask(FinishedLines(context.blobs).catch_up, extents)
    log = BatchLog(remote.batch_id, await context.ask(store.work.log_ends, driven.epoch, remote.batch_id))
    held = await context.ask(store.remotes.held, remote)
    shards = await context.ask(store.work.shards, remote.batch_id)
    plan = context.blobs.open(next(shard.plan for shard in shards if shard.shard == remote.shard))
    stack.callback(plan.close)
    file = await context.ask(store.files.place, batch.project, batch.input_file_id)
    source = None
    if file is not None and file.blob is not None:
        with contextlib.suppress(BlobMissing):
            source = context.blobs.open(file.blob)
            stack.callback(source.close)
    return Collection(
        driven,
        remote,
        driven.shard(remote, batch),
        lines=lines,
        finished=finished,
        log=log,
        held=held,
        plan=plan,
        source=source,
        last=last_chance(remote.generation, driven.upstream.remote_attempts)
        and driven.wish(remote, batch) is Wish.GO_ON,
    )


class Collection:
    """One reading of the results of one remote batch."""

    def __init__(
        self,
        driven: Driven,
        remote: RemoteRecord,
        shard: Shard,
        *,
        lines: ContentLines,
        finished: LineSet,
        log: BatchLog,
        held: Sequence[Range],
        plan: Reader,
        source: Reader | None,
        last: bool,
    ) -> None:
        #: Whether lines without a final result have no further chance.
        self.last = last
        #: Results of any kind, each line once.
        self.found = 0
        self._driven = driven
        self._remote = remote
        self._shard = shard
        self._lines = lines
        self._finished = finished
        self._log = log
        self._held = held
        self._plan = plan
        self._source = source
        self._seen = LineSet()
        self._unknown = 0
        self._committed = False

    async def read(self, seen: Remote) -> RemoteRefused | None:
        """Read every result file; what was refused when one is gone for good.

        Raises `RemoteRefused`, `Truncated`.
        """
        gone: RemoteRefused | None = None
        broken = False
        calls = self._driven.vendor.results(seen)
        for call in calls:
            cutter = LineCutter(self._driven.context.settings.limits.answer_bytes_max)
            try:
                async for chunk in self._driven.http.results(call):
                    for line in cutter.feed(chunk):
                        broken |= not self._take(line.data)
                    await self._commit_some()
                for line in cutter.finish():
                    broken |= not self._take(line.data)
            except RemoteRefused as refused:
                if refused.refusal.why is not Why.GONE:
                    raise
                gone = refused
        if self._unknown:
            log_event(
                logging.WARNING,
                "remote_unknown_lines",
                **self._driven.about(self._remote),
                lines=self._unknown,
            )
        counted = seen.counts.completed + seen.counts.failed
        lacking = broken or self.found < min(counted, len(self._lines))
        tries = self._driven.tries[self._remote.seq]
        if lacking and gone is None and tries.rereads < _REREADS_MAX:
            await self._commit()
            raise Truncated
        if not calls and seen.counts.completed:
            # Answered, and so paid; there is only nothing to read them from any more.
            return RemoteRefused(seen.refusal or _NO_FILES)
        return gone

    async def blame(self, faults: Sequence[LineFault]) -> None:
        """What validation says of single lines is final for these."""
        for fault in faults:
            planned = self._lines.nth(fault.line)
            if planned is not None and planned.line not in self._finished:
                self._add_error(planned, fault.code, fault.message, 400, fault.param)
            await self._commit_some()

    async def finish(self, verdict: Verdict) -> RemoteRecord:
        """Settle what is left, and record that all of it is collected."""
        driven, remote = self._driven, self._remote
        left = [planned for planned in self._lines if planned.line not in self._finished]
        missing = [planned.line for planned in left if planned.line not in self._seen]
        if missing and self.found:
            named = ",".join(map(str, missing[:_NAMED_MAX]))
            log_event(
                logging.WARNING, "remote_missing", **driven.about(remote), lines=len(missing), first=named
            )
        for planned in left:
            if verdict.error is not None and not (verdict.unseen and planned.line in self._seen):
                self._add_error(planned, *verdict.error)
                await self._commit_some()
        ask = driven.context.ask
        done = [
            RangeNews(shard=one.shard, start=one.start, done=True)
            for one in self._held
            if not await ask(unfinished, one, self._plan, self._finished)
        ]
        await self._commit(*done)
        reach("delegate.counted")
        collected = driven.context.store.remotes.collected
        now = driven.context.clock()
        past = {"generation": verdict.generation, "rejections": verdict.rejections}
        remote = await ask(collected, driven.epoch, remote, now=now, **past)
        driven.remotes[remote.seq] = remote
        log_event(
            logging.INFO, "remote_collected", **driven.about(remote), results=self.found, left=len(left)
        )
        reach("delegate.collected")
        driven.context.bells.clerk.ring()
        driven.context.bells.ring_senders()
        return remote

    def _take(self, data: bytes | None) -> bool:
        """Take in a result line; False when it cannot be read."""
        if data is None:
            return False
        driven = self._driven
        try:
            result = driven.vendor.from_vendor(self._shard, data, created=int(driven.context.clock()))
        except Garbled:
            return False
        whose = base.read_line_id(result.custom_id)
        planned = self._lines.find(whose[1]) if whose is not None and whose[0] == self._remote.id else None
        if planned is None:
            self._unknown += 1
            return True
        if planned.line in self._seen:
            return True
        self._seen.add(planned.line)
        self.found += 1
        if planned.line not in self._finished:
            self._settle(planned, result)
        return True

    def _settle(self, planned: Planned, result: Result) -> None:
        """Let a result be the line's outcome, if it is final."""
        if result.fate is base.Fate.ANSWERED:
            with contextlib.suppress(ValueError):  # what is no JSON is no answer; the line goes out again
                self._add_response(planned, result, read_usage(result.body))
        elif result.fate.again and not self.last:
            return
        elif result.status is not None:
            self._add_response(planned, result)
        elif result.fate is not base.Fate.UNRUN:
            self._add_error(planned, result.code, result.message, None)

    def _add_response(self, planned: Planned, result: Result, usage: Usage | None = None) -> None:
        """An answer, if its `usage` is known; an error with a status otherwise."""
        ident = line_id(self._remote.batch_id, planned.line)
        record = response_line(
            ident,
            self._custom_id(planned),
            result.status or 200,
            result.request_id or f"req_{ident[10:]}",
            on_one_line(result.body),
            delegated=None if usage is None else self._driven.name,
        )
        self._log.add(planned.line, Fate.FAILED if usage is None else Fate.ANSWERED, record, usage)
        self._finished.add(planned.line)

    def _add_error(
        self, planned: Planned, code: str, message: str, status: int | None, param: str | None = None
    ) -> None:
        """An error in words, or, with a `status`, as the provider would answer the line alone."""
        if status is not None:
            body = error_body(message, "invalid_request_error", code, param)
            self._add_response(planned, Result(custom_id="", status=status, body=body))
            return
        ident = line_id(self._remote.batch_id, planned.line)
        record = failure_line(ident, self._custom_id(planned), code, message)
        self._log.add(planned.line, Fate.FAILED, record)
        self._finished.add(planned.line)

    def _custom_id(self, planned: Planned) -> bytes:
        """The line's own `custom_id`, as JSON; its number if it is a plain body, or if the input is gone."""
        if self._source is not None:
            custom_id, _ = take_apart(self._source.read_at(planned.offset, planned.length))
            if custom_id is not None:
                return custom_id
        return b'"%d"' % planned.line

    async def _commit_some(self) -> None:
        if self._log.waiting_lines >= _COMMIT_LINES or self._log.waiting_bytes >= _COMMIT_BYTES:
            await self._commit()
            reach("delegate.collecting")

    async def _commit(self, *done: RangeNews) -> None:
        """Let what is gathered count, as long as the remote batch still holds its lines."""
        if not (self._log.waiting_lines or done):
            return
        held = self._held[0]
        news = done or (RangeNews(shard=held.shard, start=held.start),)
        group = self._log.hand_over(news)
        group = replace(group, commit=replace(group.commit, remote=self._remote))
        context = self._driven.context
        lease_s = context.settings.timing.lease_s
        await context.ask(self._driven.writer.commit, [group], now=context.clock(), lease_s=lease_s)

"""The numbers of all processes, as one: for /metrics and `bulkrate top`.

What the processes told is read from the board, and of the records only what runs; both at most once a second,
however many ask.
"""

from __future__ import annotations

import asyncio

import msgspec

from bulkrate import __version__
from bulkrate.core.lifecycle import Status
from bulkrate.core.numbers import BatchNumbers, FileNumbers, Numbers, ProcessNumbers, PurchaseNumbers
from bulkrate.core.stats import NOTHING, ProcessSnapshot, UpstreamSnapshot, at_rest, commits_of, merged
from bulkrate.engine.context import Context
from bulkrate.engine.telling import SILENT_S, of_this_process
from bulkrate.errors import BlobError, StoreError
from bulkrate.store.census import RunningBatch
from bulkrate.store.records import Moving

#: Batches beyond so many are counted and not told of one by one: each is a dozen series at Prometheus.
BATCHES_MAX = 1_000
_FRESH_S = 1.0
# Counting files and purchases looks at every row of theirs.
_FILES_FRESH_S = 15.0
_STILL = Moving()


class NumbersOfAll:
    """Reads the numbers, and keeps them for a second."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._started_at = context.clock()
        self._reading = asyncio.Lock()
        self._latest: Numbers | None = None
        self._read_at = float("-inf")
        self._files: list[FileNumbers] = []
        self._purchases: list[PurchaseNumbers] = []
        self._files_read_at = float("-inf")

    async def read(self) -> Numbers:
        """The numbers, at most a second old."""
        loop = asyncio.get_running_loop()
        async with self._reading:
            if self._latest is None or loop.time() - self._read_at > _FRESH_S:
                count_files = loop.time() - self._files_read_at > _FILES_FRESH_S
                self._latest = await self._context.ask(self._read, count_files)
                self._read_at = loop.time()
                if count_files and self._latest.records_up:
                    self._files_read_at = loop.time()
            return self._latest

    def _read(self, count_files: bool) -> Numbers:
        now = self._context.clock()
        board = self._context.board
        told = {role: board.shown(role) for role in board.roles}
        troubles = board.read()
        at_work = {role for role, shown in told.items() if shown and now - shown.told_at < SILENT_S}
        numbers = Numbers(
            version=__version__,
            at=now,
            processes={
                "server": _process(of_this_process(started_at=self._started_at, told_at=now), True, None),
                **{role: _process(told[role], role in at_work, troubles.get(role)) for role in board.roles},
            },
            upstreams=_upstreams(self._context, told, at_work),
            remotes={
                name: remote
                for role in sorted(at_work)
                if (shown := told[role]) is not None
                for name, remote in shown.remotes.items()
            },
            commits=commits_of([shown.commits for shown in told.values() if shown and shown.commits]),
        )
        try:
            return self._with_records(numbers, count_files)
        except (StoreError, BlobError):
            return msgspec.structs.replace(numbers, records_up=False)

    def _with_records(self, numbers: Numbers, count_files: bool) -> Numbers:
        store = self._context.store
        running = store.census.running(limit=BATCHES_MAX)
        moving = store.batches.moving([batch.id for batch in running]) if running else {}
        counts = store.batches.counts()
        if count_files:
            self._files = [
                FileNumbers(purpose=purpose, status=status, count=count, bytes=size)
                for (purpose, status), (count, size) in store.census.files().items()
            ]
            self._purchases = [
                PurchaseNumbers(upstream=upstream, model=model, lines=lines, usage=usage)
                for (upstream, model), (lines, usage) in store.census.purchases().items()
            ]
        return msgspec.structs.replace(
            numbers,
            batches=[_batch(batch, moving.get(batch.id, _STILL), numbers.at) for batch in running],
            batches_by_status={status.value: counts.get(status.value, 0) for status in Status},
            files=self._files,
            purchases=self._purchases,
            free_bytes=self._context.blobs.free_bytes(),
        )


def _process(shown: ProcessSnapshot | None, up: bool, trouble: str | None) -> ProcessNumbers:
    if shown is None:
        return ProcessNumbers(up=False, trouble=trouble)
    return ProcessNumbers(
        up=up,
        trouble=trouble,
        started_at=shown.started_at,
        cpu_s=shown.cpu_s,
        memory_bytes=shown.memory_bytes if up else 0,
    )


def _upstreams(
    context: Context, told: dict[str, ProcessSnapshot | None], at_work: set[str]
) -> dict[str, UpstreamSnapshot]:
    """Every configured upstream. Of a process that is gone only what it counted is left."""
    parts: dict[str, list[UpstreamSnapshot]] = {name: [NOTHING] for name in context.settings.upstreams}
    for role, shown in told.items():
        for name, snapshot in shown.upstreams.items() if shown else ():
            if name in parts:
                parts[name].append(snapshot if role in at_work else at_rest(snapshot))
    return {name: merged(several) for name, several in parts.items()}


def _batch(batch: RunningBatch, moving: Moving, now: float) -> BatchNumbers:
    left = max(0, batch.total - batch.completed - batch.failed)
    in_flight = min(moving.in_flight, left)
    return BatchNumbers(
        id=batch.id,
        project=batch.project,
        status=batch.status,
        model=batch.model,
        total=batch.total,
        answered=batch.completed,
        failed=batch.failed,
        in_flight=in_flight,
        pending=left - in_flight,
        lines_per_s=round(moving.lines_per_s, 3),
        age_s=now - batch.created_at,
        deadline_s=batch.expires_at - now,
        remaining_s=left / moving.lines_per_s if moving.lines_per_s > 0 else None,
        waiting=moving.waiting,
    )

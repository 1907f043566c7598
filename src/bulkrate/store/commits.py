"""How outcomes come to count, within a transaction of whoever calls."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, and_, delete, insert, update

from bulkrate.errors import StoreError
from bulkrate.store.extents import ends_of, extend, newest_of
from bulkrate.store.ranges import settle
from bulkrate.store.records import BatchCommit, Moving, RemoteRecord
from bulkrate.store.schema import batches, progress, purchases


def make_count(connection: Connection, epoch: int, commit: BatchCommit, *, now: float) -> None:
    """Make one batch's outcomes count, within a transaction in which the epoch was found alive.

    What counts already does not count again: a commit whose answer was lost may be made anew. Raises
    `StoreError` for outcomes that do not follow the last ones, `Fenced` for those of a range that the epoch
    does not hold.
    """
    counts = False
    if commit.since != commit.until:
        newest, count = newest_of(connection, epoch, commit.batch_id)
        ends = ends_of(newest)
        counts = ends == commit.since
        if counts:
            extend(connection, epoch, commit, newest, count, now=now)
            _count(connection, commit)
            if commit.remote is not None:
                _buy(connection, commit, commit.remote)
        elif ends.ledger < commit.until.ledger:
            raise StoreError(f"the log of {commit.batch_id} ends at {ends}, not at {commit.since}")
    holder = epoch if commit.remote is None else commit.remote.holder
    settle(connection, holder, commit, must_hold=counts)
    if commit.moving is not None:
        tell(connection, epoch, commit.batch_id, commit.moving)


def tell(connection: Connection, epoch: int, batch_id: str, moving: Moving) -> None:
    """Replace what a worker says of how a batch moves."""
    mine = and_(progress.c.batch_id == batch_id, progress.c.epoch == epoch)
    if moving == Moving():
        connection.execute(delete(progress).where(mine))
        return
    told = {
        "in_flight": moving.in_flight,
        "lines_per_s": moving.lines_per_s,
        "waiting": moving.waiting,
    }
    if connection.execute(update(progress).where(mine).values(**told)).rowcount == 0:
        connection.execute(insert(progress).values(batch_id=batch_id, epoch=epoch, **told))


def _count(connection: Connection, commit: BatchCommit) -> None:
    if not (commit.completed or commit.failed):
        return
    usage = commit.usage
    connection.execute(
        update(batches)
        .where(batches.c.id == commit.batch_id)
        .values(
            completed=batches.c.completed + commit.completed,
            failed=batches.c.failed + commit.failed,
            input_tokens=batches.c.input_tokens + usage.input_tokens,
            cached_tokens=batches.c.cached_tokens + usage.cached_tokens,
            output_tokens=batches.c.output_tokens + usage.output_tokens,
            reasoning_tokens=batches.c.reasoning_tokens + usage.reasoning_tokens,
            total_tokens=batches.c.total_tokens + usage.total_tokens,
        )
    )


def _buy(connection: Connection, commit: BatchCommit, remote: RemoteRecord) -> None:
    """Write down what was answered by a provider's batch API."""
    if not commit.completed:
        return
    key = {"batch_id": commit.batch_id, "upstream": remote.upstream, "model": remote.sent_as}
    bought = {"lines": commit.completed, **msgspec.structs.asdict(commit.usage)}
    this = and_(*(purchases.c[name] == value for name, value in key.items()))
    more = {name: purchases.c[name] + value for name, value in bought.items()}
    if connection.execute(update(purchases).where(this).values(**more)).rowcount == 0:
        connection.execute(insert(purchases).values(**key, **bought))

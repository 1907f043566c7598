"""What counts of the result logs: stretches of each worker's own logs, in an order that readers can trust.

With one worker a batch has one extent, which grows. With several, each lengthens its own newest one, or
there would be a row per commit; only when that is older than `GROWS_S` and no longer the last does the worker
begin a new one behind all others. An extent that is not open never changes again.
"""

from __future__ import annotations

from sqlalchemy import Connection, and_, exists, insert, select, update

from bulkrate.store.records import BatchCommit, Extent, LogEnds
from bulkrate.store.schema import extents

#: How long an extent may grow while others wait behind it to be read.
GROWS_S = 5.0


def newest_of(connection: Connection, epoch: int, batch_id: str) -> tuple[Extent | None, int]:
    """The newest extent of a worker for a batch, and how many extents the batch has."""
    query = select(extents).where(extents.c.batch_id == batch_id).order_by(extents.c.number.desc()).limit(1)
    last = connection.execute(query).mappings().first()
    if last is None:
        return None, 0
    count = int(last["number"]) + 1
    if last["epoch"] == epoch:
        return Extent.of(last), count
    mine = connection.execute(query.where(extents.c.epoch == epoch)).mappings().first()
    return None if mine is None else Extent.of(mine), count


def ends_of(newest: Extent | None) -> LogEnds:
    """How far a worker's logs count, by its newest extent."""
    if newest is None:
        return LogEnds()
    return LogEnds(output=newest.output_end, errors=newest.errors_end, ledger=newest.ledger_end)


def extend(
    connection: Connection, epoch: int, commit: BatchCommit, newest: Extent | None, count: int, *, now: float
) -> None:
    """Let what a worker wrote count: lengthen its newest extent, or begin one behind all others."""
    ends = {
        "output_end": commit.until.output,
        "errors_end": commit.until.errors,
        "ledger_end": commit.until.ledger,
    }
    if newest is not None and newest.open:
        old = now - newest.begun_at > GROWS_S and newest.number != count - 1
        changed = {"open": False} if old else ends
        mine = and_(extents.c.batch_id == commit.batch_id, extents.c.number == newest.number)
        connection.execute(update(extents).where(mine).values(**changed))
        if not old:
            return
    connection.execute(
        insert(extents).values(
            batch_id=commit.batch_id,
            number=count,
            epoch=epoch,
            output_start=commit.since.output,
            errors_start=commit.since.errors,
            ledger_start=commit.since.ledger,
            begun_at=now,
            open=True,
            **ends,
        )
    )


def close_extents_of_batch(connection: Connection, batch_id: str) -> None:
    """Nothing more comes to a batch, or not soon."""
    mine = and_(extents.c.batch_id == batch_id, extents.c.open)
    connection.execute(update(extents).where(mine).values(open=False))


def close_extents_of_epochs(connection: Connection, epochs: list[int]) -> None:
    """Nothing more comes from these workers."""
    theirs = and_(extents.c.open, extents.c.epoch.in_(epochs))
    connection.execute(update(extents).where(theirs).values(open=False))


def close_old_extents(connection: Connection, *, now: float) -> None:
    """Close those that others wait behind, though their worker has nothing to add."""
    newer = extents.alias()
    waited_for = exists().where(newer.c.batch_id == extents.c.batch_id, newer.c.number > extents.c.number)
    old = and_(extents.c.open, extents.c.begun_at < now - GROWS_S, waited_for)
    if connection.execute(select(extents.c.number).where(old).limit(1)).first() is not None:
        connection.execute(update(extents).where(old).values(open=False))

"""Who is alive: what fences off the dead among the workers, and what becomes of what they held.

Everything here is within a transaction of whoever calls.
"""

from __future__ import annotations

from sqlalchemy import Connection, and_, delete, select, update

from bulkrate.errors import Fenced
from bulkrate.store.extents import close_extents_of_epochs
from bulkrate.store.schema import progress, ranges, upstream_holders, workers


def must_live(connection: Connection, epoch: int) -> None:
    """Raise `Fenced` unless the epoch is alive, as it will still be when this transaction commits."""
    alive = select(workers.c.epoch).where(workers.c.epoch == epoch, workers.c.alive).with_for_update()
    if connection.execute(alive).first() is None:
        raise _fenced(epoch)


def prolong(connection: Connection, epoch: int, *, now: float, lease_s: float) -> None:
    """Prolong the lease of a living worker. Raises `Fenced` when it is lost."""
    alive = and_(workers.c.epoch == epoch, workers.c.alive)
    result = connection.execute(update(workers).where(alive).values(lease_until=now + lease_s))
    if result.rowcount != 1:
        raise _fenced(epoch)


def bury(connection: Connection, epochs: list[int]) -> None:
    """Declare workers dead: what they held is free, and nothing more comes from them."""
    if not epochs:
        return
    connection.execute(update(workers).where(workers.c.epoch.in_(epochs)).values(alive=False))
    connection.execute(update(ranges).where(ranges.c.epoch.in_(epochs)).values(epoch=None))
    connection.execute(delete(progress).where(progress.c.epoch.in_(epochs)))
    connection.execute(delete(upstream_holders).where(upstream_holders.c.epoch.in_(epochs)))
    close_extents_of_epochs(connection, epochs)


def _fenced(epoch: int) -> Fenced:
    return Fenced(f"epoch {epoch} was declared dead; another worker holds its lines now")

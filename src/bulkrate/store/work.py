"""Who does what: workers and their leases, the ranges of lines they hold, and the commits that make outcomes
count.

The rules of the lease:

- Whoever writes results is enlisted under an epoch, a number that is never used again.
- An epoch lives until its lease lapses or somebody who knows better buries it. The dead do not come back.
- A range of lines belongs to one living epoch at a time; burying an epoch frees its ranges and upstreams.
- A commit counts only if its epoch is alive in the same transaction, and holds the ranges that its outcomes
  are of. Otherwise it raises `Fenced` and nothing happened.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from sqlalchemy import ColumnElement, and_, delete, func, insert, select, true, update

from bulkrate.store import claims
from bulkrate.store.commits import make_count
from bulkrate.store.database import Database
from bulkrate.store.epochs import bury, prolong
from bulkrate.store.extents import close_old_extents, ends_of, newest_of
from bulkrate.store.ranges import is_range
from bulkrate.store.records import BatchCommit, Extent, LogEnds, Offer, Range, ShardRecord, Want
from bulkrate.store.schema import extents, progress, ranges, shards, workers


class WorkStore:
    """Claiming, committing, letting go."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def enlist(self, role: str, *, now: float, lease_s: float) -> int:
        """A new epoch for a worker."""
        with self._db.write() as connection:
            enlisted = insert(workers).values(
                role=role, started_at=now, lease_until=now + lease_s, alive=True
            )
            return int(connection.execute(enlisted.returning(workers.c.epoch)).scalar_one())

    def renew(self, epoch: int, *, now: float, lease_s: float) -> None:
        """Prolong a lease. Raises `Fenced` when it is lost."""
        with self._db.write() as connection:
            prolong(connection, epoch, now=now, lease_s=lease_s)

    def bury(self, epoch: int) -> None:
        """Declare a worker dead and free what it held."""
        with self._db.write() as connection:
            bury(connection, [epoch])

    def bury_role(self, role: str) -> list[int]:
        """Declare dead whoever had this role: for the parent of its process, when that has ended."""
        return self._bury_where(workers.c.role == role)

    def bury_lapsed(self, *, now: float) -> list[int]:
        """Declare dead whoever let the lease lapse; which."""
        return self._bury_where(workers.c.lease_until < now)

    def bury_all(self) -> list[int]:
        """Declare every worker dead: for whoever alone owns the data folder, at its start."""
        return self._bury_where(true())

    def living(self, roles: Sequence[str]) -> int:
        """How many workers with one of these roles live."""
        query = select(func.count()).where(workers.c.alive, workers.c.role.in_(roles))
        return int(self._db.value(query))

    def offers(
        self, *, serves: Callable[[str], bool], limit: int, wants: Callable[[Offer], bool] = lambda _: True
    ) -> list[Offer]:
        """Up to `limit` shards with lines to claim, whose model `serves`, and that are wanted; oldest batch
        first. However many others there are, they crowd out none.
        """
        with self._db.read() as connection:
            return claims.offers(connection, serves=serves, wants=wants, limit=limit)

    def claim(self, epoch: int, wants: Sequence[Want], *, now: float, lease_s: float) -> list[Range]:
        """Lines of shards of batches in progress, at most as many as wanted of each.

        What others left unfinished comes before what nobody has had. Raises `Fenced`.
        """
        with self._db.write() as connection:
            prolong(connection, epoch, now=now, lease_s=lease_s)
            return claims.claim(connection, epoch, wants)

    def release_unknown(self, epoch: int, known: Collection[tuple[str, int, int]]) -> None:
        """Let go of what a worker holds and does not know of: the answer to a claim was lost.

        `known` are batch, shard and start of the ranges that it knows.
        """
        query = select(ranges).where(ranges.c.epoch == epoch)
        with self._db.write() as connection:
            for row in connection.execute(query).all():
                if (row.batch_id, row.shard, row.start) not in known:
                    this = is_range(row.batch_id, row.shard, row.start)
                    connection.execute(update(ranges).where(this).values(epoch=None))

    def take_over(self, epoch: int, batch_id: str, *, now: float, lease_s: float) -> list[ShardRecord]:
        """The unfinished shards of a closing batch, for the last account: each as one range from 0 on,
        whoever had some of it. Raises `Fenced`.
        """
        query = select(shards).where(shards.c.batch_id == batch_id, ~shards.c.done).order_by(shards.c.shard)
        with self._db.write() as connection:
            prolong(connection, epoch, now=now, lease_s=lease_s)
            taken = [ShardRecord.of(row) for row in connection.execute(query).mappings()]
            connection.execute(delete(ranges).where(ranges.c.batch_id == batch_id))
            connection.execute(delete(progress).where(progress.c.batch_id == batch_id))
            mine = and_(shards.c.batch_id == batch_id, ~shards.c.done)
            connection.execute(update(shards).where(mine).values(taken=shards.c.lines))
            for shard in taken:
                whole = {"batch_id": batch_id, "shard": shard.shard, "start": 0, "lines": shard.lines}
                connection.execute(insert(ranges).values(**whole, epoch=epoch))
        return taken

    def commit(self, epoch: int, commits: Sequence[BatchCommit], *, now: float, lease_s: float) -> None:
        """Make outcomes count, all or none. Raises `Fenced` when the epoch is dead."""
        with self._db.write() as connection:
            prolong(connection, epoch, now=now, lease_s=lease_s)
            for commit in commits:
                make_count(connection, epoch, commit, now=now)

    def log_ends(self, epoch: int, batch_id: str) -> LogEnds:
        """How far this worker's logs of a batch count."""
        with self._db.read() as connection:
            return ends_of(newest_of(connection, epoch, batch_id)[0])

    def extents(self, batch_id: str) -> list[Extent]:
        """All that counts of a batch's logs."""
        query = select(extents).where(extents.c.batch_id == batch_id).order_by(extents.c.number)
        return self._db.all(Extent, query)

    def settled_extents(self, batch_id: str) -> list[Extent]:
        """What counts of a batch's logs, as far as its order is settled: read again, it has only grown at its
        end. Of a batch that has ended that is all.
        """
        found = self.extents(batch_id)
        growing = next((number for number, extent in enumerate(found) if extent.open), len(found))
        return found[: growing + 1]

    def close_old_extents(self, *, now: float) -> None:
        """Let nobody wait long for what stands behind an extent that is still open."""
        with self._db.write() as connection:
            close_old_extents(connection, now=now)

    def shards(self, batch_id: str) -> list[ShardRecord]:
        """All shards of a batch."""
        query = select(shards).where(shards.c.batch_id == batch_id).order_by(shards.c.shard)
        return self._db.all(ShardRecord, query)

    def _bury_where(self, condition: ColumnElement[bool]) -> list[int]:
        with self._db.write() as connection:
            query = select(workers.c.epoch).where(workers.c.alive, condition)
            dead = list(connection.execute(query).scalars())
            bury(connection, dead)
            return dead

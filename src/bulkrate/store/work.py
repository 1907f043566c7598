"""Who does what: workers and their leases, the shards they hold, and the commits that make outcomes count.

The rules of the lease:

- Whoever writes results is enlisted under an epoch, a number that is never used again.
- An epoch lives until its lease lapses or somebody who knows better buries it. The dead do not come back.
- A shard belongs to one living epoch at a time; burying an epoch frees its shards.
- A commit counts only if its epoch is alive in the same transaction. Otherwise it raises `Fenced` and nothing
  happened.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, and_, func, insert, select, true, update

from bulkrate.core.lifecycle import Status
from bulkrate.errors import Fenced, StoreError
from bulkrate.store.database import Database
from bulkrate.store.records import BatchCommit, ClaimedShard, Extent, LogEnds, ShardRecord
from bulkrate.store.schema import batches, extents, files, shards, workers

# A shard that nobody drives.
_STILL = {"in_flight": 0, "lines_per_s": 0.0, "waiting": None}


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
            _still_alive(connection, epoch, now, lease_s)

    def bury(self, epoch: int) -> None:
        """Declare a worker dead and free its shards."""
        with self._db.write() as connection:
            _bury(connection, [epoch])

    def bury_role(self, role: str) -> list[int]:
        """Declare dead whoever had this role: for the parent of its process, when that has ended."""
        return self._bury_where(workers.c.role == role)

    def bury_lapsed(self, *, now: float) -> list[int]:
        """Declare dead whoever let the lease lapse; which."""
        return self._bury_where(workers.c.lease_until < now)

    def bury_all(self) -> list[int]:
        """Declare every worker dead: for whoever alone owns the data folder, at its start."""
        return self._bury_where(true())

    def claim(self, epoch: int, *, limit: int, now: float, lease_s: float) -> list[ClaimedShard]:
        """Up to `limit` free shards of batches in progress, oldest batch first. Raises `Fenced`."""
        query = (
            select(shards, batches.c.endpoint, batches.c.expires_at, files.c.blob)
            .join(batches, batches.c.id == shards.c.batch_id)
            .outerjoin(files, files.c.id == batches.c.input_file_id)
            .where(~shards.c.done, shards.c.epoch.is_(None), batches.c.status == Status.IN_PROGRESS.value)
            .order_by(batches.c.seq, shards.c.shard)
            .limit(limit)
        )
        with self._db.write() as connection:
            _still_alive(connection, epoch, now, lease_s)
            rows = connection.execute(query).mappings().all()
            for row in rows:
                connection.execute(
                    update(shards).where(_is(row["batch_id"], row["shard"])).values(epoch=epoch)
                )
        return [
            ClaimedShard(
                shard=ShardRecord.of(row),
                endpoint=row["endpoint"],
                expires_at=row["expires_at"],
                input_blob=row["blob"],
            )
            for row in rows
        ]

    def take_over(self, epoch: int, batch_id: str, *, now: float, lease_s: float) -> list[ShardRecord]:
        """The unfinished shards of a closing batch, for the last account. Raises `Fenced`."""
        query = select(shards).where(shards.c.batch_id == batch_id, ~shards.c.done).order_by(shards.c.shard)
        with self._db.write() as connection:
            _still_alive(connection, epoch, now, lease_s)
            rows = connection.execute(query).mappings().all()
            mine = and_(shards.c.batch_id == batch_id, ~shards.c.done)
            connection.execute(update(shards).where(mine).values(epoch=epoch, **_STILL))
        return [ShardRecord.of(row) for row in rows]

    def release(self, epoch: int, batch_id: str, shard: int) -> None:
        """Let go of a shard that is not done."""
        with self._db.write() as connection:
            mine = and_(_is(batch_id, shard), shards.c.epoch == epoch)
            connection.execute(update(shards).where(mine).values(epoch=None, **_STILL))

    def commit(self, epoch: int, commits: Sequence[BatchCommit], *, now: float, lease_s: float) -> None:
        """Make outcomes count, all or none. Raises `Fenced` when the epoch is dead."""
        with self._db.write() as connection:
            _still_alive(connection, epoch, now, lease_s)
            for commit in commits:
                make_count(connection, epoch, commit)

    def log_ends(self, epoch: int, batch_id: str) -> LogEnds:
        """How far this worker's logs of a batch count."""
        with self._db.read() as connection:
            return _log_ends(connection, epoch, batch_id)

    def extents(self, batch_id: str) -> list[Extent]:
        """What counts of a batch's logs, in order."""
        query = select(extents).where(extents.c.batch_id == batch_id).order_by(extents.c.number)
        with self._db.read() as connection:
            return [Extent.of(row) for row in connection.execute(query).mappings()]

    def shards(self, batch_id: str) -> list[ShardRecord]:
        """All shards of a batch."""
        query = select(shards).where(shards.c.batch_id == batch_id).order_by(shards.c.shard)
        with self._db.read() as connection:
            return [ShardRecord.of(row) for row in connection.execute(query).mappings()]

    def _bury_where(self, condition: ColumnElement[bool]) -> list[int]:
        with self._db.write() as connection:
            query = select(workers.c.epoch).where(workers.c.alive, condition)
            dead = list(connection.execute(query).scalars())
            _bury(connection, dead)
            return dead


def _is(batch_id: str, shard: int) -> ColumnElement[bool]:
    return and_(shards.c.batch_id == batch_id, shards.c.shard == shard)


def make_count(connection: Connection, epoch: int, commit: BatchCommit) -> None:
    """Make one batch's outcomes count, within a transaction in which the epoch was found alive.

    What counts already does not count again: a commit whose answer was lost may be made anew. Raises
    `StoreError` for outcomes that do not follow the last ones.
    """
    if commit.since != commit.until:
        ends = _log_ends(connection, epoch, commit.batch_id)
        if ends == commit.since:
            _extend(connection, epoch, commit)
            _count(connection, commit)
        elif ends.ledger < commit.until.ledger:
            raise StoreError(f"the log of {commit.batch_id} ends at {ends}, not at {commit.since}")
    _tell(connection, epoch, commit)


def must_live(connection: Connection, epoch: int) -> None:
    """Raise `Fenced` unless the epoch is alive, as it will still be when this transaction commits."""
    alive = select(workers.c.epoch).where(workers.c.epoch == epoch, workers.c.alive).with_for_update()
    if connection.execute(alive).first() is None:
        raise _fenced(epoch)


def _still_alive(connection: Connection, epoch: int, now: float, lease_s: float) -> None:
    alive = and_(workers.c.epoch == epoch, workers.c.alive)
    result = connection.execute(update(workers).where(alive).values(lease_until=now + lease_s))
    if result.rowcount != 1:
        raise _fenced(epoch)


def _fenced(epoch: int) -> Fenced:
    return Fenced(f"epoch {epoch} was declared dead; another worker holds its lines now")


def _bury(connection: Connection, epochs: list[int]) -> None:
    if not epochs:
        return
    connection.execute(update(workers).where(workers.c.epoch.in_(epochs)).values(alive=False))
    orphans = and_(shards.c.epoch.in_(epochs), ~shards.c.done)
    connection.execute(update(shards).where(orphans).values(epoch=None, **_STILL))


def _log_ends(connection: Connection, epoch: int, batch_id: str) -> LogEnds:
    query = select(
        func.max(extents.c.output_end), func.max(extents.c.errors_end), func.max(extents.c.ledger_end)
    ).where(extents.c.batch_id == batch_id, extents.c.epoch == epoch)
    output, errors, ledger = connection.execute(query).one()
    return LogEnds(output=output or 0, errors=errors or 0, ledger=ledger or 0)


def _extend(connection: Connection, epoch: int, commit: BatchCommit) -> None:
    """Lengthen the batch's last extent if it is ours, else begin one: a stream grows only at its end."""
    ends = {
        "output_end": commit.until.output,
        "errors_end": commit.until.errors,
        "ledger_end": commit.until.ledger,
    }
    last = connection.execute(
        select(extents.c.number, extents.c.epoch)
        .where(extents.c.batch_id == commit.batch_id)
        .order_by(extents.c.number.desc())
        .limit(1)
    ).first()
    if last is not None and last.epoch == epoch:
        mine = and_(extents.c.batch_id == commit.batch_id, extents.c.number == last.number)
        connection.execute(update(extents).where(mine).values(**ends))
        return
    connection.execute(
        insert(extents).values(
            batch_id=commit.batch_id,
            number=0 if last is None else last.number + 1,
            epoch=epoch,
            output_start=commit.since.output,
            errors_start=commit.since.errors,
            ledger_start=commit.since.ledger,
            **ends,
        )
    )


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


def _tell(connection: Connection, epoch: int, commit: BatchCommit) -> None:
    for news in commit.shards:
        connection.execute(
            update(shards)
            .where(_is(commit.batch_id, news.shard), shards.c.epoch == epoch)
            .values(
                done=news.done,
                epoch=None if news.released else epoch,
                in_flight=news.in_flight,
                lines_per_s=news.lines_per_s,
                waiting=news.waiting,
            )
        )

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

from collections.abc import Callable, Collection, Iterator, Sequence

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    true,
    tuple_,
    update,
)

from bulkrate.core.lifecycle import Status
from bulkrate.errors import Fenced, StoreError
from bulkrate.store.database import Database
from bulkrate.store.extents import close_extents_of_epochs, close_old_extents, ends_of, extend, newest_of
from bulkrate.store.records import (
    BatchCommit,
    Extent,
    LogEnds,
    Moving,
    Offer,
    Range,
    RemoteRecord,
    ShardRecord,
    Want,
)
from bulkrate.store.schema import (
    batches,
    extents,
    files,
    progress,
    purchases,
    ranges,
    shards,
    upstream_holders,
    workers,
)

# Shards asked for in one statement; SQLite takes 32,766 parameters.
_ASKED_AT_ONCE = 1_000
_CLAIMABLE = and_(
    ~shards.c.done,
    or_(
        shards.c.taken < shards.c.lines,
        exists().where(
            ranges.c.batch_id == shards.c.batch_id, ranges.c.shard == shards.c.shard, ranges.c.epoch.is_(None)
        ),
    ),
)
_SENDING = and_(batches.c.id == shards.c.batch_id, batches.c.status == Status.IN_PROGRESS.value)
_TAKE = (
    update(shards)
    .where(shards.c.batch_id == bindparam("of_batch"), shards.c.shard == bindparam("of_shard"))
    .values(taken=bindparam("up_to"))
)


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
        """Declare a worker dead and free what it held."""
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

    def living(self, roles: Sequence[str]) -> int:
        """How many workers with one of these roles live."""
        query = select(func.count()).where(workers.c.alive, workers.c.role.in_(roles))
        with self._db.read() as connection:
            return int(connection.execute(query).scalar_one())

    def offers(
        self, *, serves: Callable[[str], bool], limit: int, wants: Callable[[Offer], bool] = lambda _: True
    ) -> list[Offer]:
        """Up to `limit` shards with lines to claim, whose model `serves`, and that are wanted; oldest batch
        first. However many others there are, they crowd out none.
        """
        query = (
            select(
                shards,
                batches.c.seq,
                batches.c.endpoint,
                batches.c.created_at,
                batches.c.expires_at,
                files.c.blob,
            )
            .join(batches, _SENDING)
            .outerjoin(files, files.c.id == batches.c.input_file_id)
            .where(_CLAIMABLE)
            .order_by(batches.c.seq, shards.c.shard)
            .limit(limit)
        )
        found: list[Offer] = []
        with self._db.read() as connection:
            rows = connection.execute(query).mappings().all()
            if len(rows) == limit:
                models = select(shards.c.model).distinct().where(_CLAIMABLE, _SENDING)
                served = [model for model in connection.execute(models).scalars() if serves(model)]
                query = query.where(shards.c.model.in_(served))
                rows = connection.execute(query).mappings().all()
            while True:
                offers = (_offer(row) for row in rows if serves(row["model"]))
                found += [offer for offer in offers if wants(offer)]
                if len(found) >= limit or len(rows) < limit:
                    return found[:limit]
                last = rows[-1]["seq"], rows[-1]["shard"]
                behind = query.where(tuple_(batches.c.seq, shards.c.shard) > last)
                rows = connection.execute(behind).mappings().all()

    def claim(self, epoch: int, wants: Sequence[Want], *, now: float, lease_s: float) -> list[Range]:
        """Lines of shards of batches in progress, at most as many as wanted of each.

        What others left unfinished comes before what nobody has had. Raises `Fenced`.
        """
        claimed: list[Range] = []
        fresh: list[Range] = []
        with self._db.write() as connection:
            _still_alive(connection, epoch, now, lease_s)
            orphans = _orphans(connection)
            for want, row in _sending(connection, wants):
                adopted = _adopt(connection, epoch, want, orphans.get((want.batch_id, want.shard), ()))
                claimed += adopted
                missing = want.lines - sum(one.lines for one in adopted)
                lines = min(missing, row["lines"] - row["taken"])
                if lines > 0:
                    fresh.append(
                        Range(
                            batch_id=want.batch_id,
                            shard=want.shard,
                            start=row["taken"],
                            lines=lines,
                            fresh=not row["struck"],
                        )
                    )
            _hand_out(connection, epoch, fresh)
        return claimed + fresh

    def release_unknown(self, epoch: int, known: Collection[tuple[str, int, int]]) -> None:
        """Let go of what a worker holds and does not know of: the answer to a claim was lost.

        `known` are batch, shard and start of the ranges that it knows.
        """
        query = select(ranges).where(ranges.c.epoch == epoch)
        with self._db.write() as connection:
            for row in connection.execute(query).all():
                if (row.batch_id, row.shard, row.start) not in known:
                    this = _is_range(row.batch_id, row.shard, row.start)
                    connection.execute(update(ranges).where(this).values(epoch=None))

    def take_over(self, epoch: int, batch_id: str, *, now: float, lease_s: float) -> list[ShardRecord]:
        """The unfinished shards of a closing batch, for the last account: each as one range from 0 on,
        whoever had some of it. Raises `Fenced`.
        """
        query = select(shards).where(shards.c.batch_id == batch_id, ~shards.c.done).order_by(shards.c.shard)
        with self._db.write() as connection:
            _still_alive(connection, epoch, now, lease_s)
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
            _still_alive(connection, epoch, now, lease_s)
            for commit in commits:
                make_count(connection, epoch, commit, now=now)

    def log_ends(self, epoch: int, batch_id: str) -> LogEnds:
        """How far this worker's logs of a batch count."""
        with self._db.read() as connection:
            return ends_of(newest_of(connection, epoch, batch_id)[0])

    def extents(self, batch_id: str) -> list[Extent]:
        """All that counts of a batch's logs."""
        query = select(extents).where(extents.c.batch_id == batch_id).order_by(extents.c.number)
        with self._db.read() as connection:
            return [Extent.of(row) for row in connection.execute(query).mappings()]

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
        with self._db.read() as connection:
            return [ShardRecord.of(row) for row in connection.execute(query).mappings()]

    def _bury_where(self, condition: ColumnElement[bool]) -> list[int]:
        with self._db.write() as connection:
            query = select(workers.c.epoch).where(workers.c.alive, condition)
            dead = list(connection.execute(query).scalars())
            _bury(connection, dead)
            return dead


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
    _settle_ranges(connection, holder, commit, must_hold=counts)
    if commit.moving is not None:
        tell(connection, epoch, commit.batch_id, commit.moving)


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
    connection.execute(update(ranges).where(ranges.c.epoch.in_(epochs)).values(epoch=None))
    connection.execute(delete(progress).where(progress.c.epoch.in_(epochs)))
    connection.execute(delete(upstream_holders).where(upstream_holders.c.epoch.in_(epochs)))
    close_extents_of_epochs(connection, epochs)


def _offer(row: RowMapping) -> Offer:
    return Offer(
        shard=ShardRecord.of(row),
        endpoint=row["endpoint"],
        expires_at=row["expires_at"],
        input_blob=row["blob"],
        window_s=row["expires_at"] - row["created_at"],
    )


def _orphans(connection: Connection) -> dict[tuple[str, int], list[RowMapping]]:
    """The ranges that nobody holds, by shard."""
    query = select(ranges).where(ranges.c.epoch.is_(None)).order_by(ranges.c.start)
    found: dict[tuple[str, int], list[RowMapping]] = {}
    for row in connection.execute(query).mappings():
        found.setdefault((row["batch_id"], row["shard"]), []).append(row)
    return found


def _sending(connection: Connection, wants: Sequence[Want]) -> Iterator[tuple[Want, RowMapping]]:
    """Those shards of the wanted whose batch is in progress."""
    which = tuple_(shards.c.batch_id, shards.c.shard)
    for first in range(0, len(wants), _ASKED_AT_ONCE):
        asked = {(want.batch_id, want.shard): want for want in wants[first : first + _ASKED_AT_ONCE]}
        query = select(shards).join(batches, _SENDING).where(which.in_(list(asked)))
        for row in connection.execute(query).mappings().all():
            yield asked[row["batch_id"], row["shard"]], row


def _adopt(connection: Connection, epoch: int, want: Want, orphans: Sequence[RowMapping]) -> list[Range]:
    """Take orphaned ranges of a shard; one that is longer than is wanted is cut, unless it is suspect."""
    adopted: list[Range] = []
    missing = want.lines
    for orphan in orphans:
        if missing <= 0:
            break
        start, suspect = orphan["start"], orphan["suspect"]
        lines = orphan["lines"] if suspect else min(orphan["lines"], missing)
        missing -= lines
        _cut(connection, orphan, lines, epoch=epoch, suspect=suspect)
        adopted.append(
            Range(
                batch_id=want.batch_id,
                shard=want.shard,
                start=start,
                lines=lines,
                fresh=False,
                suspect=suspect,
                generation=orphan["generation"],
                rejections=orphan["rejections"],
            )
        )
    return adopted


def _cut(connection: Connection, whole: RowMapping, lines: int, *, epoch: int | None, suspect: bool) -> None:
    """Let the first lines of a range have this epoch, and be suspect or not; the rest is a range apart."""
    first = _is_range(whole["batch_id"], whole["shard"], whole["start"])
    connection.execute(update(ranges).where(first).values(epoch=epoch, lines=lines, suspect=suspect))
    if lines < whole["lines"]:
        rest = {"start": whole["start"] + lines, "lines": whole["lines"] - lines, "epoch": None}
        same = {name: whole[name] for name in ("batch_id", "shard", "generation", "rejections")}
        connection.execute(insert(ranges).values(**same, **rest))


def _hand_out(connection: Connection, epoch: int, fresh: Sequence[Range]) -> None:
    if not fresh:
        return
    taken = [
        {"of_batch": one.batch_id, "of_shard": one.shard, "up_to": one.start + one.lines} for one in fresh
    ]
    connection.execute(_TAKE, taken)
    held = [
        {
            "batch_id": one.batch_id,
            "shard": one.shard,
            "start": one.start,
            "lines": one.lines,
            "epoch": epoch,
        }
        for one in fresh
    ]
    connection.execute(insert(ranges), held)


def _is_range(batch_id: str, shard: int, start: int) -> ColumnElement[bool]:
    return and_(ranges.c.batch_id == batch_id, ranges.c.shard == shard, ranges.c.start == start)


def _settle_ranges(connection: Connection, holder: int, commit: BatchCommit, *, must_hold: bool) -> None:
    """Forget the ranges that are done, free those that are let go, and see that the worker holds the rest."""
    ended: set[int] = set()
    for news in commit.ranges:
        mine = and_(_is_range(commit.batch_id, news.shard, news.start), ranges.c.epoch == holder)
        if news.done:
            found = connection.execute(delete(ranges).where(mine)).rowcount
            ended.add(news.shard)
        elif news.released or must_hold:
            held = connection.execute(select(ranges).where(mine)).mappings().all()
            found = len(held)
            for whole in held if news.released else ():
                lines = min(news.suspect, whole["lines"]) or whole["lines"]
                _cut(connection, whole, lines, epoch=None, suspect=news.suspect > 0)
        else:
            continue
        if must_hold and not found:
            raise Fenced(
                f"{_named(holder)} does not hold the lines from {news.start} of shard {news.shard} "
                f"of {commit.batch_id}; another worker does"
            )
    for shard in sorted(ended):
        left = exists().where(ranges.c.batch_id == commit.batch_id, ranges.c.shard == shard)
        all_done = and_(
            shards.c.batch_id == commit.batch_id,
            shards.c.shard == shard,
            shards.c.taken == shards.c.lines,
            ~left,
        )
        connection.execute(update(shards).where(all_done).values(done=True))


def _named(holder: int) -> str:
    return f"epoch {holder}" if holder > 0 else f"the remote batch {-holder}"


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

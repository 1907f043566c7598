"""Which lines are to be had, and how they are taken, within a transaction of whoever calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sqlalchemy import (
    Connection,
    RowMapping,
    and_,
    bindparam,
    exists,
    insert,
    or_,
    select,
    tuple_,
    update,
)

from bulkrate.core.lifecycle import Status
from bulkrate.store.ranges import cut, range_of
from bulkrate.store.records import Offer, Range, ShardRecord, Want
from bulkrate.store.schema import batches, files, ranges, shards

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


def offers(
    connection: Connection,
    *,
    serves: Callable[[str], bool],
    wants: Callable[[Offer], bool],
    limit: int,
) -> list[Offer]:
    """Up to `limit` shards with lines to claim, whose model `serves`, and that are wanted; oldest batch
    first. However many others there are, they crowd out none: page after page is read.
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
    rows = connection.execute(query).mappings().all()
    if len(rows) == limit:
        models = select(shards.c.model).distinct().where(_CLAIMABLE, _SENDING)
        served = [model for model in connection.execute(models).scalars() if serves(model)]
        query = query.where(shards.c.model.in_(served))
        rows = connection.execute(query).mappings().all()
    found: list[Offer] = []
    while True:
        offered = (_offer(row) for row in rows if serves(row["model"]))
        found += [offer for offer in offered if wants(offer)]
        if len(found) >= limit or len(rows) < limit:
            return found[:limit]
        last = rows[-1]["seq"], rows[-1]["shard"]
        behind = query.where(tuple_(batches.c.seq, shards.c.shard) > last)
        rows = connection.execute(behind).mappings().all()


def claim(connection: Connection, epoch: int, wants: Sequence[Want]) -> list[Range]:
    """Lines of shards of batches in progress, at most as many as wanted of each, for a worker that was found
    alive. What others left unfinished comes before what nobody has had.
    """
    adopted: list[Range] = []
    fresh: list[Range] = []
    orphans = _orphans(connection)
    for want, row in _sending(connection, wants):
        mine = _adopt(connection, epoch, want, orphans.get((want.batch_id, want.shard), ()))
        adopted += mine
        missing = want.lines - sum(one.lines for one in mine)
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
    return adopted + fresh


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
        lines = orphan["lines"] if orphan["suspect"] else min(orphan["lines"], missing)
        missing -= lines
        cut(connection, orphan, lines, first={"epoch": epoch})
        adopted.append(range_of(orphan, lines=lines))
    return adopted


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

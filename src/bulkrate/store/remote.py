"""Remote batches: what was meant to be bought from providers, what was, and what came of it.

The rules:

- An intent is a row, committed before anything is uploaded or created; the row then holds its lines, whoever
  dies, until it is collected.
- Each fact is written before the next step. None is ever taken back but the two that say that a call may have
  been heard, once it is known that it was not.
- Only the living worker that drives an upstream writes about its remote batches; anyone else is `Fenced`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, and_, delete, func, insert, select, update

from bulkrate.errors import Fenced
from bulkrate.store.commits import tell
from bulkrate.store.database import Database
from bulkrate.store.epochs import must_live
from bulkrate.store.ranges import cut, range_of
from bulkrate.store.records import LessonRecord, Moving, Purchase, Range, RemoteRecord, RemoteSum
from bulkrate.store.schema import lessons, progress, purchases, ranges, remotes, upstream_holders, workers


class RemoteStore:
    """What is known of batches at providers."""

    def __init__(self, database: Database) -> None:
        self._db = database

    # --- the life of one ---

    def intend(self, epoch: int, remote: RemoteRecord, lines: Sequence[Range]) -> RemoteRecord:
        """Record what shall be bought: the row takes over these stretches of the ranges that the worker
        holds, and what else the worker holds of the shard is free. Raises `Fenced`.
        """
        with self._db.write() as connection:
            _must_drive(connection, epoch, remote.upstream)
            row = insert(remotes).values(**remote.values()).returning(remotes.c.seq)
            kept = replace(remote, seq=connection.execute(row).scalar_one())
            mine = and_(
                ranges.c.batch_id == remote.batch_id,
                ranges.c.shard == remote.shard,
                ranges.c.epoch == epoch,
            )
            held = {row["start"]: row for row in connection.execute(select(ranges).where(mine)).mappings()}
            for one in lines:
                if one.start not in held:
                    raise Fenced(f"epoch {epoch} does not hold the lines from {one.start} of {one.batch_id}")
                first = {"epoch": kept.holder, "suspect": False}
                cut(connection, held[one.start], one.lines, first=first)
            connection.execute(update(ranges).where(mine).values(epoch=None))
        return kept

    def release_all(self, epoch: int) -> None:
        """Let go of the lines that the worker claimed and made no remote batch of."""
        self._db.change(update(ranges).where(ranges.c.epoch == epoch).values(epoch=None))

    def note(self, epoch: int, remote: RemoteRecord, **facts: Any) -> RemoteRecord:
        """Write down facts about a remote batch, by their names in the record. Raises `Fenced`."""
        with self._db.write() as connection:
            _must_drive(connection, epoch, remote.upstream)
            connection.execute(update(remotes).where(remotes.c.seq == remote.seq).values(**facts))
        return replace(remote, **facts)

    def collected(
        self, epoch: int, remote: RemoteRecord, *, now: float, generation: int, rejections: int
    ) -> RemoteRecord:
        """All that can be read of it counts: what is left of its ranges is free, with this past. Raises
        `Fenced`.
        """
        with self._db.write() as connection:
            _must_drive(connection, epoch, remote.upstream)
            _close(connection, remote, now=now, generation=generation, rejections=rejections)
        return replace(remote, collected_at=now, waiting=None)

    def abandon(self, remote: RemoteRecord, *, now: float, why: str) -> None:
        """Give up a remote batch whose upstream nobody drives any more, as it is no longer configured."""
        with self._db.write() as connection:
            same = {"generation": remote.generation, "rejections": remote.rejections}
            _close(connection, remote, now=now, **same)
            given_up = {"removed_at": now, "waiting": why}
            connection.execute(update(remotes).where(remotes.c.seq == remote.seq).values(**given_up))

    def hasten(self, remote_id: str, *, upstream: str) -> bool:
        """Let the next look at a remote batch be now: its provider says that there is news. Whether there is
        one.
        """
        this = and_(
            remotes.c.remote_id == remote_id, remotes.c.upstream == upstream, remotes.c.removed_at.is_(None)
        )
        return self._db.change(update(remotes).where(this).values(look_at=0.0)) > 0

    # --- what there is ---

    def open(self, upstream: str) -> list[RemoteRecord]:
        """The remote batches of an upstream with something left to do, oldest first."""
        query = select(remotes).where(remotes.c.removed_at.is_(None), remotes.c.upstream == upstream)
        with self._db.read() as connection:
            rows = connection.execute(query.order_by(remotes.c.seq)).mappings()
            return [RemoteRecord.of(row) for row in rows]

    def of_strangers(self, upstreams: Collection[str]) -> list[RemoteRecord]:
        """The open remote batches of all upstreams but these."""
        query = select(remotes).where(remotes.c.removed_at.is_(None), remotes.c.upstream.not_in(upstreams))
        return self._db.all(RemoteRecord, query)

    def of_batch(self, batch_id: str) -> list[RemoteRecord]:
        """All remote batches that a batch ever had, oldest first."""
        query = select(remotes).where(remotes.c.batch_id == batch_id).order_by(remotes.c.seq)
        return self._db.all(RemoteRecord, query)

    def held(self, remote: RemoteRecord) -> list[Range]:
        """The ranges whose lines a remote batch holds."""
        query = select(ranges).where(ranges.c.epoch == remote.holder).order_by(ranges.c.start)
        with self._db.read() as connection:
            return [range_of(row) for row in connection.execute(query).mappings()]

    def created_since(self, upstream: str, *, since: float) -> int:
        """How many create calls were made at an upstream since a moment."""
        query = select(func.count()).where(remotes.c.upstream == upstream, remotes.c.create_asked_at >= since)
        return int(self._db.value(query))

    def hastened(self, upstream: str) -> set[int]:
        """The remote batches, by `seq`, of which the provider has news (see `hasten`)."""
        query = select(remotes.c.seq).where(
            remotes.c.upstream == upstream, remotes.c.remote_id.is_not(None), remotes.c.look_at == 0
        )
        return set(self._db.column(query.where(remotes.c.collected_at.is_(None))))

    def known_ids(self, upstream: str) -> set[str]:
        """The provider's ids of all batches that are known to be ours."""
        query = select(remotes.c.remote_id).where(
            remotes.c.upstream == upstream, remotes.c.remote_id.is_not(None)
        )
        return set(self._db.column(query))

    # --- what refusals taught ---

    def learn(self, epoch: int, lesson: LessonRecord) -> None:
        """Write down what is known of a quota now, in place of what was known before. Raises `Fenced`."""
        this = and_(lessons.c.upstream == lesson.upstream, lessons.c.model == lesson.model)
        with self._db.write() as connection:
            _must_drive(connection, epoch, lesson.upstream)
            connection.execute(delete(lessons).where(this))
            connection.execute(insert(lessons).values(**lesson.values()))

    def lessons(self, upstream: str) -> list[LessonRecord]:
        """What is known of the quotas of an upstream."""
        query = select(lessons).where(lessons.c.upstream == upstream)
        return self._db.all(LessonRecord, query)

    # --- for whoever asks about a batch ---

    def sums(self, batch_ids: Sequence[str]) -> dict[str, RemoteSum]:
        """What these batches have at providers now; those without are left out."""
        query = (
            select(
                remotes.c.batch_id,
                func.count(),
                func.sum(remotes.c.lines),
                func.sum(remotes.c.completed),
                func.sum(remotes.c.failed),
            )
            .where(remotes.c.batch_id.in_(batch_ids), remotes.c.remote_id.is_not(None))
            .where(remotes.c.collected_at.is_(None))
            .group_by(remotes.c.batch_id)
        )
        with self._db.read() as connection:
            return {
                batch_id: RemoteSum(
                    batches=batches, lines=int(lines), completed=int(completed), failed=int(failed)
                )
                for batch_id, batches, lines, completed, failed in connection.execute(query)
            }

    def waiting(self, batch_ids: Sequence[str], *, role: str) -> dict[str, str]:
        """What these batches wait for, as the worker of this role tells; those that wait for nothing are left
        out.
        """
        query = (
            select(progress.c.batch_id, progress.c.waiting)
            .join(workers, workers.c.epoch == progress.c.epoch)
            .where(progress.c.batch_id.in_(batch_ids), workers.c.role == role)
            .where(progress.c.waiting.is_not(None))
        )
        with self._db.read() as connection:
            return {batch_id: str(why) for batch_id, why in connection.execute(query)}

    def purchases(self, batch_ids: Sequence[str]) -> list[Purchase]:
        """What of these batches was answered by providers' batch APIs, by batch, upstream and model."""
        query = select(purchases).where(purchases.c.batch_id.in_(batch_ids))
        order = (purchases.c.batch_id, purchases.c.upstream, purchases.c.model)
        return self._db.all(Purchase, query.order_by(*order))

    def tell(self, epoch: int, batch_id: str, moving: Moving) -> None:
        """Say how a batch moves at this worker. Raises `Fenced`."""
        with self._db.write() as connection:
            must_live(connection, epoch)
            tell(connection, epoch, batch_id, moving)


def _must_drive(connection: Connection, epoch: int, upstream: str) -> None:
    """Raise `Fenced` unless the worker lives and drives the upstream."""
    must_live(connection, epoch)
    mine = and_(upstream_holders.c.name == upstream, upstream_holders.c.epoch == epoch)
    if connection.execute(select(upstream_holders.c.name).where(mine)).first() is None:
        raise Fenced(f"epoch {epoch} does not drive the upstream {upstream}; another worker does")


def _close(
    connection: Connection, remote: RemoteRecord, *, now: float, generation: int, rejections: int
) -> None:
    theirs = ranges.c.epoch == remote.holder
    left = {"epoch": None, "generation": generation, "rejections": rejections}
    connection.execute(update(ranges).where(theirs).values(**left))
    closed = {"collected_at": now, "waiting": None}
    connection.execute(update(remotes).where(remotes.c.seq == remote.seq).values(**closed))

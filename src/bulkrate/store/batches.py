"""Records of batches. `_move` is the one place in the package that writes a status."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, delete, exists, func, insert, select, update

from bulkrate.core.lifecycle import Event, Status, after
from bulkrate.errors import IllegalTransition
from bulkrate.store.commits import make_count
from bulkrate.store.database import Database
from bulkrate.store.epochs import must_live
from bulkrate.store.extents import close_extents_of_batch
from bulkrate.store.records import BatchCommit, BatchRecord, DeliveryRecord, FileRecord, Moving, ShardRecord
from bulkrate.store.schema import batches, deliveries, files, progress, ranges, shards
from bulkrate.store.webhooks import subscribers

_LIVE = [status.value for status in Status if not status.terminal]
_CLOSING = [status.value for status in Status if status.closing]


class BatchStore:
    """Batches and their way through the lifecycle."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def create(self, batch: BatchRecord) -> BatchRecord:
        """Record a new batch, or return the one that was created with the same idempotency key.

        The caller compares `idempotency_digest` of what comes back with its own.
        """
        with self._db.write() as connection:
            return _known(connection, batch) or _insert(connection, batch)

    def create_retry(self, batch: BatchRecord) -> BatchRecord | None:
        """Like `create`, but None while another batch of the family is live: two would do the same lines."""
        live = exists().where(batches.c.family == batch.family, batches.c.status.in_(_LIVE))
        with self._db.write() as connection:
            known = _known(connection, batch)
            if known is not None:
                return known
            if connection.execute(select(live)).scalar():
                return None
            return _insert(connection, batch)

    def get(self, project: str, batch_id: str) -> BatchRecord | None:
        """The batch, unless it is another project's."""
        return self._one(batches.c.id == batch_id, batches.c.project == project)

    def by_id(self, batch_id: str) -> BatchRecord | None:
        """The batch, whoever's it is."""
        return self._one(batches.c.id == batch_id)

    def page(self, project: str, *, after: BatchRecord | None, limit: int) -> list[BatchRecord]:
        """Up to `limit` batches, newest first, beginning behind `after`; of faults only the first."""
        # A page of a hundred rejected batches with all their faults would be a gigabyte.
        columns = [column for column in batches.c if column.name != "faults"]
        query = select(*columns, batches.c.first_faults.label("faults")).where(batches.c.project == project)
        query = query.order_by(batches.c.seq.desc()).limit(limit)
        if after is not None:
            query = query.where(batches.c.seq < after.seq)
        return self._db.all(BatchRecord, query)

    def family(self, family: str) -> list[BatchRecord]:
        """The first batch and all its retries, oldest first."""
        return self._db.all(
            BatchRecord, select(batches).where(batches.c.family == family).order_by(batches.c.seq)
        )

    def unplanned(self, *, limit: int) -> list[BatchRecord]:
        """Up to `limit` live batches whose lines are not known yet, oldest first."""
        live = batches.c.status.in_(_LIVE)
        query = select(batches).where(live, ~batches.c.planned).order_by(batches.c.seq)
        return self._db.all(BatchRecord, query.limit(limit))

    def sent(self) -> list[BatchRecord]:
        """Batches in progress of which every shard is done."""
        open_shard = exists().where(shards.c.batch_id == batches.c.id, ~shards.c.done)
        in_progress = batches.c.status == Status.IN_PROGRESS.value
        return self._db.all(BatchRecord, select(batches).where(in_progress, batches.c.planned, ~open_shard))

    def due(self, *, now: float) -> list[str]:
        """Batches in progress whose window has closed."""
        query = select(batches.c.id).where(
            batches.c.status == Status.IN_PROGRESS.value, batches.c.expires_at <= now
        )
        return self._db.column(query)

    def settled(self, epoch: int) -> list[BatchRecord]:
        """Closing batches of which no worker but this one holds a line: ready for the last account."""
        held = exists().where(
            ranges.c.batch_id == batches.c.id, ranges.c.epoch.is_not(None), ranges.c.epoch != epoch
        )
        query = select(batches).where(batches.c.status.in_(_CLOSING), batches.c.planned, ~held)
        return self._db.all(BatchRecord, query.order_by(batches.c.seq))

    def statuses(self, batch_ids: Sequence[str]) -> dict[str, Status]:
        """Where these batches stand."""
        query = select(batches.c.id, batches.c.status).where(batches.c.id.in_(batch_ids))
        with self._db.read() as connection:
            return {row.id: Status(row.status) for row in connection.execute(query)}

    def counts(self) -> dict[str, int]:
        """How many batches are in each status."""
        query = select(batches.c.status, func.count()).group_by(batches.c.status)
        with self._db.read() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def moving(self, batch_ids: Sequence[str]) -> dict[str, Moving]:
        """How those batches move that a worker tells of, over all workers."""
        query = (
            select(
                progress.c.batch_id,
                func.sum(progress.c.in_flight),
                func.sum(progress.c.lines_per_s),
                func.max(progress.c.waiting),
            )
            .where(progress.c.batch_id.in_(batch_ids))
            .group_by(progress.c.batch_id)
        )
        with self._db.read() as connection:
            return {
                batch_id: Moving(in_flight=int(in_flight), lines_per_s=float(lines_per_s), waiting=waiting)
                for batch_id, in_flight, lines_per_s, waiting in connection.execute(query)
            }

    def models_waited_for(self, batch_ids: Sequence[str]) -> dict[str, set[str]]:
        """Per batch, the models whose lines are not done."""
        query = select(shards.c.batch_id, shards.c.model).where(
            shards.c.batch_id.in_(batch_ids), ~shards.c.done
        )
        found: dict[str, set[str]] = {}
        with self._db.read() as connection:
            for batch_id, model in connection.execute(query):
                found.setdefault(batch_id, set()).add(model)
        return found

    def admit(
        self,
        plan: Sequence[ShardRecord],
        isolated: BatchCommit,
        *,
        epoch: int,
        model: str | None,
        total: int,
        now: int,
    ) -> bool:
        """Record the plan of a batch, and let it be sent if it is still wanted.

        `isolated` holds the bad lines that were told of already. A batch that was cancelled meanwhile gets
        its plan too, so that each of its lines can be accounted for. False when another clerk was faster.
        Raises `Fenced`.
        """
        batch_id = isolated.batch_id
        with self._db.write() as connection:
            must_live(connection, epoch)
            row = _lock(connection, batch_id)
            if row is None or row["planned"]:
                return False
            if row["status"] == Status.VALIDATING.value:
                _move(connection, row, Event.ADMITTED, now)
            for shard in plan:
                connection.execute(insert(shards).values(**shard.values(), taken=0, done=False))
            known = {"planned": True, "total": total, "model": model}
            connection.execute(update(batches).where(batches.c.id == batch_id).values(**known))
            make_count(connection, epoch, isolated, now=now)
            close_extents_of_batch(connection, batch_id)
            return True

    def reject(self, batch_id: str, faults: bytes, first_faults: bytes, *, now: int, event_id: str) -> None:
        """End a batch whose input is bad; lists tell only of its `first_faults`.

        Does nothing to one that was cancelled meanwhile.
        """
        with self._db.write() as connection:
            row = _lock(connection, batch_id)
            if row is None or row["status"] != Status.VALIDATING.value:
                return
            told = {"faults": faults, "first_faults": first_faults, "planned": True}
            _move(connection, row, Event.REJECTED, now, event_id=event_id, **told)

    def move(self, batch_id: str, event: Event, *, now: int) -> BatchRecord | None:
        """Let `event` happen to a batch that does not end by it. None when there is no such batch.

        Raises `IllegalTransition` when the batch does not take the event.
        """
        with self._db.write() as connection:
            row = _lock(connection, batch_id)
            if row is None:
                return None
            _move(connection, row, event, now)
            row = _lock(connection, batch_id)
            return BatchRecord.of(row) if row else None

    def close(
        self,
        batch_id: str,
        event: Event,
        *,
        output: FileRecord | None,
        errors: FileRecord | None,
        now: int,
        event_id: str,
    ) -> Status | None:
        """End a batch whose every line is accounted for, and let its files appear.

        One that is in progress goes through finalizing by the same act. None when it had ended before, or was
        cancelled in this moment.
        """
        ids = {
            "output_file_id": output.id if output else None,
            "error_file_id": errors.id if errors else None,
        }
        with self._db.write() as connection:
            row = _lock(connection, batch_id)
            if row is None:
                return None
            try:
                if row["status"] == Status.IN_PROGRESS.value:
                    _move(connection, row, Event.LINES_DONE, now)
                    row = _lock(connection, batch_id)
                status = _move(connection, row, event, now, event_id=event_id, **ids)
            except IllegalTransition:
                return None
            for file in (output, errors):
                if file is not None:
                    connection.execute(insert(files).values(**file.values()))
            close_extents_of_batch(connection, batch_id)
            connection.execute(delete(progress).where(progress.c.batch_id == batch_id))
            return status

    def _one(self, *conditions: Any) -> BatchRecord | None:
        return self._db.first(BatchRecord, select(batches).where(*conditions))


def _insert(connection: Connection, batch: BatchRecord) -> BatchRecord:
    seq = connection.execute(insert(batches).values(**batch.values()).returning(batches.c.seq)).scalar_one()
    return replace(batch, seq=seq)


def _known(connection: Connection, batch: BatchRecord) -> BatchRecord | None:
    """The batch that was created with the same idempotency key, if this one has a key."""
    if batch.idempotency_key is None:
        return None
    query = select(batches).where(
        batches.c.project == batch.project, batches.c.idempotency_key == batch.idempotency_key
    )
    row = connection.execute(query).mappings().first()
    return BatchRecord.of(row) if row else None


def _lock(connection: Connection, batch_id: str) -> Any:
    return (
        connection.execute(select(batches).where(batches.c.id == batch_id).with_for_update())
        .mappings()
        .first()
    )


def _move(
    connection: Connection, row: Any, event: Event, now: int, *, event_id: str | None = None, **values: Any
) -> Status:
    """Write the status that `event` leads to, and tell the outbox when the batch ends by it."""
    status = after(Status(row["status"]), event)
    values |= {"status": status.value, status.reached_at: now}
    connection.execute(
        update(batches).where(batches.c.id == row["id"], batches.c.status == row["status"]).values(**values)
    )
    if status.terminal and event_id is not None:
        _announce(connection, row, status, event_id, now)
    return status


def _announce(connection: Connection, row: Any, status: Status, event_id: str, now: int) -> None:
    """Put the event into the outbox of every endpoint of the project that asked for it."""
    for number, webhook_id in enumerate(subscribers(connection, row["project"], f"batch.{status}")):
        delivery = DeliveryRecord(
            id=f"whd_{event_id.removeprefix('evt_')}{number:04x}",
            webhook_id=webhook_id,
            event_id=event_id,
            event_type=f"batch.{status}",
            batch_id=row["id"],
            created_at=now,
            next_attempt_at=float(now),
        )
        connection.execute(insert(deliveries).values(**delivery.values()))

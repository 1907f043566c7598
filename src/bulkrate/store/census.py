"""How many of what there are, for whoever watches the server. Reads only, and few columns."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import case, func, select

from bulkrate.core.lifecycle import Status
from bulkrate.providers.usage import Usage
from bulkrate.store.database import Database
from bulkrate.store.records import Record
from bulkrate.store.schema import batches, files, purchases

_LIVE = [status.value for status in Status if not status.terminal]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunningBatch(Record):
    """A batch that has not ended; the columns that change while it runs, and whose it is."""

    id: str
    project: str
    status: str
    model: str | None
    created_at: int
    expires_at: int
    total: int
    completed: int
    failed: int


class Census:
    """Counts over all projects."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def running(self, *, limit: int) -> list[RunningBatch]:
        """Up to `limit` batches that have not ended, oldest first."""
        columns = [batches.c[name] for name in RunningBatch.__dataclass_fields__]
        query = select(*columns).where(batches.c.status.in_(_LIVE)).order_by(batches.c.seq).limit(limit)
        return self._db.all(RunningBatch, query)

    def files(self) -> dict[tuple[str, str], tuple[int, int]]:
        """How many files there are and how many bytes they have, by purpose and status.

        The status is `kept`, or `deleted` while a batch still reads the bytes.
        """
        status = case((files.c.deleted_at.is_(None), "kept"), else_="deleted")
        query = (
            select(files.c.purpose, status, func.count(), func.sum(files.c.bytes))
            .where(~files.c.purged)
            .group_by(files.c.purpose, status)
        )
        with self._db.read() as connection:
            return {(row[0], row[1]): (row[2], int(row[3] or 0)) for row in connection.execute(query)}

    def purchases(self) -> dict[tuple[str, str], tuple[int, Usage]]:
        """What was ever bought through batch APIs, by upstream and model: lines and tokens."""
        tokens = [func.sum(purchases.c[name]) for name in Usage.__struct_fields__]
        query = select(purchases.c.upstream, purchases.c.model, func.sum(purchases.c.lines), *tokens)
        with self._db.read() as connection:
            rows = connection.execute(query.group_by(purchases.c.upstream, purchases.c.model))
            return {(row[0], row[1]): (int(row[2]), Usage(*map(int, row[3:]))) for row in rows}

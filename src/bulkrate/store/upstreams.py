"""What the workers know of the world: which upstreams answer, and what they serve."""

from __future__ import annotations

from sqlalchemy import delete, insert, select

from bulkrate.store.database import Database
from bulkrate.store.records import UpstreamRecord
from bulkrate.store.schema import upstreams


class UpstreamStore:
    """Notes that workers leave for validation, the model list and /health."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def report(self, upstream: UpstreamRecord) -> None:
        """Replace what is known of an upstream."""
        with self._db.write() as connection:
            connection.execute(delete(upstreams).where(upstreams.c.name == upstream.name))
            connection.execute(insert(upstreams).values(**upstream.values()))

    def forget_all(self) -> None:
        """Forget what earlier workers knew."""
        with self._db.write() as connection:
            connection.execute(delete(upstreams))

    def all(self) -> list[UpstreamRecord]:
        """What is known, by name."""
        with self._db.read() as connection:
            rows = connection.execute(select(upstreams).order_by(upstreams.c.name)).mappings()
            return [UpstreamRecord.of(row) for row in rows]

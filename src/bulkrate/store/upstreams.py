"""What the workers know of the world: which upstreams answer, what they serve, how much they take, and who
drives which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import and_, delete, insert, select

from bulkrate.store.database import Database
from bulkrate.store.epochs import must_live
from bulkrate.store.records import UpstreamRecord
from bulkrate.store.schema import upstream_holders, upstreams, windows


class UpstreamStore:
    """Notes that workers leave for validation, the model list and /health, and the leases of upstreams.

    An upstream is held by one living epoch at a time; burying an epoch frees its upstreams.
    """

    def __init__(self, database: Database) -> None:
        self._db = database

    def report(self, upstream: UpstreamRecord) -> None:
        """Replace what is known of an upstream."""
        with self._db.write() as connection:
            connection.execute(delete(upstreams).where(upstreams.c.name == upstream.name))
            connection.execute(insert(upstreams).values(**upstream.values()))

    def forget_all(self) -> None:
        """Forget what earlier workers knew."""
        self._db.change(delete(upstreams))

    def all(self) -> list[UpstreamRecord]:
        """What is known, by name."""
        with self._db.read() as connection:
            rows = connection.execute(select(upstreams).order_by(upstreams.c.name)).mappings()
            return [UpstreamRecord.of(row) for row in rows]

    def holders(self) -> dict[str, int]:
        """The epoch that drives it, by upstream; one without is free."""
        with self._db.read() as connection:
            return {row.name: row.epoch for row in connection.execute(select(upstream_holders))}

    def take(self, epoch: int, names: Sequence[str], *, most: int) -> list[str]:
        """Take up to `most` of these upstreams, of those that are free; which. Raises `Fenced`."""
        with self._db.write() as connection:
            must_live(connection, epoch)
            held = set(connection.execute(select(upstream_holders.c.name)).scalars())
            taken = [name for name in names if name not in held][:most]
            for name in taken:
                connection.execute(insert(upstream_holders).values(name=name, epoch=epoch))
        return taken

    def release(self, epoch: int, name: str) -> None:
        """Let go of an upstream that is not driven any more."""
        mine = and_(upstream_holders.c.name == name, upstream_holders.c.epoch == epoch)
        self._db.change(delete(upstream_holders).where(mine))

    def windows(self) -> dict[str, dict[str, int]]:
        """How many lines in flight each upstream was last seen to do well with, by model."""
        found: dict[str, dict[str, int]] = {}
        with self._db.read() as connection:
            for row in connection.execute(select(windows)):
                found.setdefault(row.upstream, {})[row.model] = row.in_flight
        return found

    def record_windows(self, upstream: str, by_model: Mapping[str, int], *, now: float) -> None:
        """Replace what is known of an upstream's windows."""
        with self._db.write() as connection:
            connection.execute(delete(windows).where(windows.c.upstream == upstream))
            for model, in_flight in by_model.items():
                seen = {"upstream": upstream, "model": model, "in_flight": in_flight, "seen_at": now}
                connection.execute(insert(windows).values(**seen))

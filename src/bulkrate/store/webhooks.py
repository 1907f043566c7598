"""Records of webhook endpoints, and the outbox of events on their way to them.

`store.batches` fills the outbox, in the transaction that ends a batch. Nothing here sends anything.
"""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy import delete as delete_from

from bulkrate.store.database import Database
from bulkrate.store.records import DeliveryRecord, WebhookRecord
from bulkrate.store.schema import deliveries, webhooks

_PENDING = deliveries.c.status == "pending"


def subscribers(connection: Connection, project: str, event_type: str) -> list[str]:
    """The endpoints of a project that asked for events of this type, oldest first."""
    query = select(webhooks.c.id, webhooks.c.event_types).where(webhooks.c.project == project)
    # A project has a handful of endpoints: reading them all is cheaper than a table of subscriptions.
    rows = connection.execute(query.order_by(webhooks.c.seq))
    return [row.id for row in rows if event_type in msgspec.json.decode(row.event_types)]


class WebhookStore:
    """Endpoints and their deliveries."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, webhook: WebhookRecord, *, project_max: int | None = None) -> WebhookRecord | None:
        """Record an endpoint; None when its project has `project_max` already."""
        with self._db.write() as connection:
            if project_max is not None and _count(connection, webhook.project) >= project_max:
                return None
            connection.execute(insert(webhooks).values(**webhook.values()))
            row = connection.execute(select(webhooks).where(webhooks.c.id == webhook.id)).mappings().one()
        return WebhookRecord.of(row)

    def get(self, project: str, webhook_id: str) -> WebhookRecord | None:
        """The endpoint, unless it is another project's."""
        return self._one(webhooks.c.id == webhook_id, webhooks.c.project == project)

    def by_id(self, webhook_id: str) -> WebhookRecord | None:
        """The endpoint, whoever's it is."""
        return self._one(webhooks.c.id == webhook_id)

    def page(
        self, project: str, *, newest_first: bool, after: WebhookRecord | None, limit: int
    ) -> list[WebhookRecord]:
        """Up to `limit` endpoints in order of creation, beginning behind `after`."""
        query = select(webhooks).where(webhooks.c.project == project).limit(limit)
        if after is not None:
            query = query.where(webhooks.c.seq < after.seq if newest_first else webhooks.c.seq > after.seq)
        query = query.order_by(webhooks.c.seq.desc() if newest_first else webhooks.c.seq)
        return self._db.all(WebhookRecord, query)

    def count(self, project: str) -> int:
        """How many endpoints a project has."""
        with self._db.read() as connection:
            return _count(connection, project)

    def update(self, project: str, webhook_id: str, **changes: Any) -> WebhookRecord | None:
        """Set the columns in `changes`; the endpoint as it is then, or None when it is not the project's."""
        mine = (webhooks.c.id == webhook_id, webhooks.c.project == project)
        with self._db.write() as connection:
            if connection.execute(update(webhooks).where(*mine).values(**changes)).rowcount != 1:
                return None
            return WebhookRecord.of(connection.execute(select(webhooks).where(*mine)).mappings().one())

    def delete(self, project: str, webhook_id: str) -> bool:
        """Forget an endpoint and all its deliveries, pending ones too; whether there was one."""
        mine = (webhooks.c.id == webhook_id, webhooks.c.project == project)
        with self._db.write() as connection:
            if connection.execute(delete_from(webhooks).where(*mine)).rowcount != 1:
                return False
            connection.execute(delete_from(deliveries).where(deliveries.c.webhook_id == webhook_id))
            return True

    def due(self, *, now: float, limit: int) -> list[DeliveryRecord]:
        """Up to `limit` deliveries whose moment has come: those never tried first, then the longest overdue.

        So a receiver that has been down for days, with all its retries, cannot hold up news for the others.
        """
        query = select(deliveries).where(_PENDING, deliveries.c.next_attempt_at <= now)
        query = query.order_by(
            deliveries.c.attempts > 0, deliveries.c.next_attempt_at, deliveries.c.seq
        ).limit(limit)
        return self._db.all(DeliveryRecord, query)

    def next_due(self) -> float | None:
        """The moment at which the next delivery is to be tried; None when nothing is pending."""
        moment: float | None = self._db.value(select(func.min(deliveries.c.next_attempt_at)).where(_PENDING))
        return moment

    def settle(
        self,
        delivery_id: str,
        *,
        status: str,
        attempts: int,
        next_attempt_at: float | None,
        delivered_at: int | None,
        last_status_code: int | None,
        last_error: str | None,
    ) -> bool:
        """Record how a try ended; False when the delivery is gone, because its endpoint is."""
        query = (
            update(deliveries)
            .where(deliveries.c.id == delivery_id)
            .values(
                status=status,
                attempts=attempts,
                next_attempt_at=next_attempt_at,
                delivered_at=delivered_at,
                last_status_code=last_status_code,
                last_error=last_error,
            )
        )
        return self._db.change(query) == 1

    def delivery(self, webhook_id: str, delivery_id: str) -> DeliveryRecord | None:
        """The delivery, unless it is another endpoint's."""
        query = select(deliveries).where(
            deliveries.c.id == delivery_id, deliveries.c.webhook_id == webhook_id
        )
        return self._db.first(DeliveryRecord, query)

    def deliveries_page(
        self, webhook_id: str, *, after: DeliveryRecord | None, limit: int
    ) -> list[DeliveryRecord]:
        """Up to `limit` deliveries of an endpoint, newest first, beginning behind `after`."""
        query = select(deliveries).where(deliveries.c.webhook_id == webhook_id)
        if after is not None:
            query = query.where(deliveries.c.seq < after.seq)
        query = query.order_by(deliveries.c.seq.desc()).limit(limit)
        return self._db.all(DeliveryRecord, query)

    def prune(self, *, older_than: int) -> int:
        """Forget deliveries that ended and were created before this moment; how many."""
        query = delete_from(deliveries).where(~_PENDING, deliveries.c.created_at < older_than)
        return self._db.change(query)

    def _one(self, *conditions: Any) -> WebhookRecord | None:
        return self._db.first(WebhookRecord, select(webhooks).where(*conditions))


def _count(connection: Connection, project: str) -> int:
    query = select(func.count()).select_from(webhooks).where(webhooks.c.project == project)
    return int(connection.execute(query).scalar_one())

"""Webhook endpoints, and the events they are sent.

The event is deliberately thin: the receiver fetches the batch. Types outside these four are never sent to an
endpoint, because the Python SDK parses an unknown type into an unrelated class without an error.
"""

from __future__ import annotations

from bulkrate.wire.base import Ask, Shape

EVENT_TYPES = ("batch.completed", "batch.failed", "batch.expired", "batch.cancelled")


class EventData(Shape, frozen=True, kw_only=True):
    """The batch that the event is about."""

    id: str


class Event(Shape, frozen=True, kw_only=True):
    """What is posted to an endpoint."""

    id: str
    created_at: int
    type: str
    data: EventData
    object: str = "event"


class CreateWebhook(Ask, frozen=True, kw_only=True):
    """Register a receiver."""

    name: str
    url: str
    event_types: list[str]


class UpdateWebhook(Ask, frozen=True, kw_only=True):
    """Change a receiver; what is left out stays."""

    name: str | None = None
    url: str | None = None
    event_types: list[str] | None = None


class RotateSecret(Ask, frozen=True, kw_only=True):
    """Make a new signing secret; the old one may keep signing beside it for a day."""

    keep_old_secret_active_for_24_hours: bool = False


class TestWebhook(Ask, frozen=True, kw_only=True):
    """Send one event of this type now."""

    event_type: str


class WebhookEndpoint(Shape, frozen=True, kw_only=True):
    """A registered receiver. The secret itself is shown only when it is made."""

    id: str
    created_at: int
    updated_at: int
    name: str
    url: str
    event_types: list[str]
    signing_secret_hint: str
    object: str = "webhook_endpoint"


class WebhookEndpointWithSecret(WebhookEndpoint, frozen=True, kw_only=True):
    """A receiver together with its new secret."""

    signing_secret: str


class WebhookDeleted(Shape, frozen=True, kw_only=True):
    """The answer to a delete."""

    id: str
    deleted: bool = True
    object: str = "webhook_endpoint.deleted"


class WebhookTestResult(Shape, frozen=True, kw_only=True):
    """What the receiver answered to a test event."""

    webhook_endpoint_id: str
    event_type: str
    status_code: int
    success: bool = True
    object: str = "webhook_endpoint.test"


class EventTypeList(Shape, frozen=True, kw_only=True):
    """The event types that can be subscribed to."""

    data: list[str]
    object: str = "list"


class Delivery(Shape, frozen=True, kw_only=True):
    """One event on its way to one endpoint (extension).

    `status` is `pending`, `delivered` or `abandoned`; `last_status_code` is null when the receiver was not
    reached, and `last_error` then says why.
    """

    id: str
    webhook_endpoint_id: str
    event_id: str
    event_type: str
    batch_id: str
    created_at: int
    status: str
    attempts: int
    next_attempt_at: int | None
    delivered_at: int | None
    last_status_code: int | None
    last_error: str | None
    object: str = "webhook_endpoint.delivery"

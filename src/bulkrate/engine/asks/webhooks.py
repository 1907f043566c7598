"""Webhook endpoints: who wants to hear of which events.

Whoever may register an endpoint can make this server POST to any address it can reach, including ones that
the caller cannot: the receivers we are made for are mostly on the same network, so neither plain `http` nor
private addresses are refused. What can be done with that is kept small: the body is always a signed event,
never the caller's own; redirects are not followed; of the answer a caller learns the status and nothing
else. Where that is still too much, keep keys from those who may not, or the server from the addresses, by a
firewall.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from typing import Any

import msgspec
from pyreqwest.http import Url

from bulkrate.engine.context import Context
from bulkrate.engine.ids import new_batch_id, new_id
from bulkrate.engine.loops.notify import new_client, post
from bulkrate.errors import InvalidRequest, NotFound
from bulkrate.store.records import DeliveryRecord, WebhookRecord
from bulkrate.wire.base import Page
from bulkrate.wire.webhooks import (
    EVENT_TYPES,
    CreateWebhook,
    Delivery,
    Event,
    EventData,
    EventTypeList,
    RotateSecret,
    TestWebhook,
    UpdateWebhook,
    WebhookDeleted,
    WebhookEndpoint,
    WebhookEndpointWithSecret,
    WebhookTestResult,
)

NAME_CHARS_MAX = 256
URL_CHARS_MAX = 2_048
ENDPOINTS_MAX = 20
OLD_SECRET_S = 24 * 3600
_PREFIX = "whsec_"
_SECRET_BYTES = 32


class Webhooks:
    """The endpoints of all projects; to each project only its own exist."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store = context.store.webhooks

    async def create(self, project: str, ask: CreateWebhook) -> WebhookEndpointWithSecret:
        """Register a receiver. The answer is the only one that shows the secret. Raises `InvalidRequest`."""
        _check(name=ask.name, url=ask.url, event_types=ask.event_types)
        now = self._context.now()
        webhook = WebhookRecord(
            id=new_id("we_"),
            project=project,
            name=ask.name,
            url=ask.url,
            event_types=msgspec.json.encode(ask.event_types),
            secret=_new_secret(),
            created_at=now,
            updated_at=now,
        )
        added = await self._context.ask(self._store.add, webhook, project_max=ENDPOINTS_MAX)
        if added is None:
            raise InvalidRequest(
                f"This project has {ENDPOINTS_MAX} webhook endpoints, the most it can; delete one first.",
                code="webhook_endpoint_limit_reached",
            )
        return _with_secret(added)

    async def get(self, project: str, webhook_id: str) -> WebhookEndpoint:
        """A receiver, without its secret. Raises `NotFound`."""
        return _shape(await self._get(project, webhook_id))

    async def list(self, project: str, *, limit: int, after: str | None, order: str) -> Page[WebhookEndpoint]:
        """Up to `limit` receivers, newest first unless `order` is `asc`, behind the one named `after`."""
        cursor = await self._context.ask(self._store.get, project, after) if after else None
        if after and cursor is None:
            raise _no_cursor(after)
        found = await self._context.ask(
            self._store.page, project, newest_first=order != "asc", after=cursor, limit=limit + 1
        )
        shapes = [_shape(webhook) for webhook in found[:limit]]
        return Page.of(shapes, has_more=len(found) > limit)

    async def update(self, project: str, webhook_id: str, ask: UpdateWebhook) -> WebhookEndpoint:
        """Change what `ask` gives, for events on their way too. Raises `NotFound`, `InvalidRequest`."""
        webhook = await self._get(project, webhook_id)
        _check(name=ask.name, url=ask.url, event_types=ask.event_types)
        event_types = None if ask.event_types is None else msgspec.json.encode(ask.event_types)
        given = {"name": ask.name, "url": ask.url, "event_types": event_types}
        changes = {
            column: value
            for column, value in given.items()
            if value is not None and value != getattr(webhook, column)
        }
        # OpenAI's `updated_at` stands still when nothing changes.
        return _shape(await self._change(webhook, **changes) if changes else webhook)

    async def delete(self, project: str, webhook_id: str) -> WebhookDeleted:
        """Forget a receiver and everything on its way to it. Raises `NotFound`."""
        if not await self._context.ask(self._store.delete, project, webhook_id):
            raise _not_found(webhook_id)
        return WebhookDeleted(id=webhook_id)

    async def rotate_secret(
        self, project: str, webhook_id: str, ask: RotateSecret
    ) -> WebhookEndpointWithSecret:
        """A new secret, shown this once. The old one is void, or signs beside it for a day if asked."""
        webhook = await self._get(project, webhook_id)
        keep = ask.keep_old_secret_active_for_24_hours
        return _with_secret(
            await self._change(
                webhook,
                secret=_new_secret(),
                old_secret=webhook.secret if keep else None,
                old_secret_until=self._context.now() + OLD_SECRET_S if keep else None,
            )
        )

    async def test(self, project: str, webhook_id: str, ask: TestWebhook) -> WebhookTestResult:
        """Send one event about a batch that never was, now and once; what the receiver answered.

        Raises `NotFound`, and `InvalidRequest` when no answer came.
        """
        webhook = await self._get(project, webhook_id)
        _check_event_type(ask.event_type, param="event_type")
        now = self._context.now()
        event = Event(
            id=new_id("evt_"), created_at=now, type=ask.event_type, data=EventData(id=new_batch_id(now))
        )
        async with new_client() as client:
            answer = await post(client, webhook, event, now=now)
        if answer.status_code is None:
            raise InvalidRequest(
                f"The test event did not reach the webhook endpoint '{webhook_id}': {answer.error}.",
                code="webhook_endpoint_unreachable",
            )
        return WebhookTestResult(
            webhook_endpoint_id=webhook_id, event_type=ask.event_type, status_code=answer.status_code
        )

    async def deliveries(
        self, project: str, webhook_id: str, *, limit: int, after: str | None
    ) -> Page[Delivery]:
        """Up to `limit` events that were or will be sent to a receiver, newest first. Raises `NotFound`."""
        await self._get(project, webhook_id)
        cursor = await self._context.ask(self._store.delivery, webhook_id, after) if after else None
        if after and cursor is None:
            raise _no_cursor(after)
        found = await self._context.ask(
            self._store.deliveries_page, webhook_id, after=cursor, limit=limit + 1
        )
        shapes = [_delivery(delivery) for delivery in found[:limit]]
        return Page.of(shapes, has_more=len(found) > limit)

    def event_types(self) -> EventTypeList:
        """What can be subscribed to."""
        return EventTypeList(data=[*EVENT_TYPES])

    async def _get(self, project: str, webhook_id: str) -> WebhookRecord:
        webhook = await self._context.ask(self._store.get, project, webhook_id)
        if webhook is None:
            raise _not_found(webhook_id)
        return webhook

    async def _change(self, webhook: WebhookRecord, **changes: Any) -> WebhookRecord:
        changed = await self._context.ask(
            self._store.update, webhook.project, webhook.id, updated_at=self._context.now(), **changes
        )
        if changed is None:
            raise _not_found(webhook.id)
        return changed


def _new_secret() -> str:
    return _PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def _shape(webhook: WebhookRecord) -> WebhookEndpoint:
    return WebhookEndpoint(**_fields(webhook))


def _with_secret(webhook: WebhookRecord) -> WebhookEndpointWithSecret:
    return WebhookEndpointWithSecret(**_fields(webhook), signing_secret=webhook.secret)


def _fields(webhook: WebhookRecord) -> dict[str, Any]:
    return {
        "id": webhook.id,
        "created_at": webhook.created_at,
        "updated_at": webhook.updated_at,
        "name": webhook.name,
        "url": webhook.url,
        "event_types": msgspec.json.decode(webhook.event_types, type=list[str]),
        "signing_secret_hint": f"{_PREFIX}…{webhook.secret[-4:]}",
    }


def _delivery(delivery: DeliveryRecord) -> Delivery:
    at = delivery.next_attempt_at
    return Delivery(
        id=delivery.id,
        webhook_endpoint_id=delivery.webhook_id,
        event_id=delivery.event_id,
        event_type=delivery.event_type,
        batch_id=delivery.batch_id,
        created_at=delivery.created_at,
        status=delivery.status,
        attempts=delivery.attempts,
        next_attempt_at=None if at is None else int(at),
        delivered_at=delivery.delivered_at,
        last_status_code=delivery.last_status_code,
        last_error=delivery.last_error,
    )


def _check(*, name: str | None, url: str | None, event_types: Sequence[str] | None) -> None:
    """Raise for the first of those given that cannot be."""
    if name is not None and not 1 <= len(name) <= NAME_CHARS_MAX:
        raise _invalid("name", f"expected 1 to {NAME_CHARS_MAX} characters, but got {len(name)}")
    if url is not None:
        _check_url(url)
    if event_types is not None:
        _check_event_types(event_types)


def _check_url(url: str) -> None:
    """Ask the very parser that will be used, so that no endpoint is registered which can never be reached."""
    if len(url) > URL_CHARS_MAX:
        raise _invalid("url", f"expected at most {URL_CHARS_MAX} characters, but got {len(url)}")
    try:
        scheme = Url(url).scheme
    except ValueError as cause:
        raise _invalid("url", f"it cannot be read as a URL ({cause})") from cause
    # The parser also takes `http:host`, and drops line breaks; people who read the list would not.
    if scheme not in {"http", "https"} or "://" not in url or any(c.isspace() for c in url):
        raise _invalid("url", "expected an absolute address, as https://example.com/hook")


def _check_event_types(event_types: Sequence[str]) -> None:
    if not event_types:
        raise _invalid("event_types", "expected at least one event type")
    for number, event_type in enumerate(event_types):
        _check_event_type(event_type, param=f"event_types[{number}]")
    if len(set(event_types)) != len(event_types):
        raise _invalid("event_types", "an event type is named twice")


def _check_event_type(event_type: str, *, param: str) -> None:
    if event_type not in EVENT_TYPES:
        supported = ", ".join(f"'{known}'" for known in EVENT_TYPES)
        raise _invalid(param, f"'{event_type[:64]}' is no event type; supported are {supported}")


def _invalid(param: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid value for '{param}': {why}.", code="invalid_value", param=param)


def _no_cursor(after: str) -> InvalidRequest:
    return _invalid("after", f"there is no '{after[:64]}' in this list")


def _not_found(webhook_id: str) -> NotFound:
    return NotFound(f"No webhook endpoint found with id '{webhook_id[:64]}'.", param="webhook_endpoint_id")

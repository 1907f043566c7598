"""Routes of webhook endpoints and their deliveries."""

from __future__ import annotations

from bulkrate.server.operations import Call
from bulkrate.wire.base import Page
from bulkrate.wire.webhooks import (
    Delivery,
    EventTypeList,
    WebhookDeleted,
    WebhookEndpoint,
    WebhookEndpointWithSecret,
    WebhookTestResult,
)


async def create(call: Call) -> WebhookEndpointWithSecret:
    return await call.engine.webhooks.create(call.project, call.ask)


async def listing(call: Call) -> Page[WebhookEndpoint]:
    return await call.engine.webhooks.list(call.project, **call.query)


async def get(call: Call) -> WebhookEndpoint:
    return await call.engine.webhooks.get(call.project, call.path["webhook_endpoint_id"])


async def update(call: Call) -> WebhookEndpoint:
    return await call.engine.webhooks.update(call.project, call.path["webhook_endpoint_id"], call.ask)


async def delete(call: Call) -> WebhookDeleted:
    return await call.engine.webhooks.delete(call.project, call.path["webhook_endpoint_id"])


async def rotate_secret(call: Call) -> WebhookEndpointWithSecret:
    return await call.engine.webhooks.rotate_secret(call.project, call.path["webhook_endpoint_id"], call.ask)


async def test(call: Call) -> WebhookTestResult:
    return await call.engine.webhooks.test(call.project, call.path["webhook_endpoint_id"], call.ask)


async def deliveries(call: Call) -> Page[Delivery]:
    return await call.engine.webhooks.deliveries(call.project, call.path["webhook_endpoint_id"], **call.query)


async def event_types(call: Call) -> EventTypeList:
    return call.engine.webhooks.event_types()

"""A provider's webhook shortens the wait, and can do nothing else."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

import pytest
from standardwebhooks.webhooks import Webhook

from bulkrate.errors import InvalidRequest, NotFound, Unauthorized
from tests.engine.delegate.conftest import delegated, fresh_ids, housed

SECRET = "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQ="


def signed(body: bytes, secret: str = SECRET) -> dict[str, str]:
    now = datetime.now(UTC)
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_1", now, body.decode()),
    }


async def test_news_of_a_provider_are_looked_after_at_once(data, openai):
    ids = fresh_ids(3)
    openai.go_wrong(slow_s=1_000)
    # The second look would be hours away.
    upstream = delegated(openai, poll_s=10_000.0, webhook_secret=SECRET)
    async with housed(data, {"provider": upstream}) as house:
        batch_id = await house.begin(ids)
        await house.until(batch_id, lambda batch: batch.progress.in_flight == 3)
        openai.double._ahead_s += 1_000
        [remote] = house.context.store.remotes.of_batch(batch_id)
        body = json.dumps({"type": "batch.completed", "data": {"id": remote.remote_id}}).encode()
        async with asyncio.timeout(60):
            # The double may need a moment to have the answers; a webhook may come more than once.
            while (batch := await house.batch(batch_id)).status != "completed":
                await house.engine.news.take("provider", signed(body), body)
                await asyncio.sleep(0.05)
    assert batch.request_counts.completed == 3


async def test_what_is_not_signed_by_the_provider_is_refused(data, openai):
    upstream = delegated(openai, webhook_secret=SECRET)
    async with housed(data, {"provider": upstream, "silent": delegated(openai)}) as house:
        body = b'{"data": {"id": "batch_1"}}'
        await house.engine.news.take("provider", signed(body), body)  # of a batch that nobody knows
        for headers in ({}, signed(body, "whsec_b3RoZXI="), signed(b"{}")):
            with pytest.raises(Unauthorized):
                await house.engine.news.take("provider", headers, body)
        for name in ("silent", "unknown"):
            with pytest.raises(NotFound):
                await house.engine.news.take(name, signed(body), body)
        for odd in (b"[]", b'{"data": 3}', b'{"type": "x"}'):
            with pytest.raises(InvalidRequest):
                await house.engine.news.take("provider", signed(odd), odd)

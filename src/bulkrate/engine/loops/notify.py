"""**notify**: brings the events of ended batches to the endpoints that asked for them.

An event is signed after the Standard Webhooks scheme, as OpenAI's are, and sent until its receiver answers
2xx or three days have passed. It may arrive more than once and in any order: it counts as delivered only
when the answer is here, and `webhook-id` stays the same from try to try so that a receiver can tell.

Of the answer only the status counts. Its body is not read, redirects are not followed, and what a receiver
or the network said is never repeated in words that are not ours.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import (
    ConnectTimeoutError,
    DecodeError,
    DetailedPyreqwestError,
    PyreqwestError,
    RequestTimeoutError,
)
from standardwebhooks.webhooks import Webhook

from bulkrate import __version__
from bulkrate.core.webhooks import retry_at
from bulkrate.engine.context import Context
from bulkrate.store.records import DeliveryRecord, WebhookRecord
from bulkrate.telemetry import log_event
from bulkrate.wire.base import encode
from bulkrate.wire.webhooks import Event, EventData

TIMEOUT_S = 10
CONNECT_TIMEOUT_S = 5
#: How many receivers are waited for at once.
AT_ONCE_MAX = 16
#: How many deliveries a round takes on: with every receiver silent it lasts 40 s, and then new events come
#: first again.
ROUND_MAX = 64


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How a try ended: with the status that the receiver answered, or with the reason why it did not."""

    status_code: int | None
    error: str | None

    @property
    def accepted(self) -> bool:
        """Whether the receiver has the event."""
        return self.status_code is not None and 200 <= self.status_code < 300


class Notifier:
    """The loop's piece: one round after another, by one notifier at a time."""

    def __init__(self, context: Context, *, dice: Callable[[], float] = random.random) -> None:
        self._context = context
        self._store = context.store.webhooks
        self._dice = dice

    async def run_once(self) -> float | None:
        """Deliver what is due, and return the Unix time at which more is, or None when nothing waits.

        That time is already past when more than `ROUND_MAX` were due: go round again at once.
        """
        due = await self._context.ask(self._store.due, now=self._context.clock(), limit=ROUND_MAX)
        if due:
            await self._deliver_all(due)
        return await self._context.ask(self._store.next_due)

    async def _deliver_all(self, due: Sequence[DeliveryRecord]) -> None:
        free = asyncio.Semaphore(AT_ONCE_MAX)
        try:
            async with new_client() as client, asyncio.TaskGroup() as tasks:
                for delivery in due:
                    tasks.create_task(self._deliver(client, delivery, free))
        except ExceptionGroup as several:
            # Only the store can fail here, and whoever runs the loop knows what to do about one StoreError.
            raise several.exceptions[0] from several

    async def _deliver(self, client: Client, delivery: DeliveryRecord, free: asyncio.Semaphore) -> None:
        async with free:
            webhook = await self._context.ask(self._store.by_id, delivery.webhook_id)
            if webhook is None:
                answer = Answer(status_code=None, error="the endpoint was deleted")
            else:
                answer = await post(client, webhook, event_of(delivery), now=self._context.clock())
        await self._settle(delivery, answer, gone=webhook is None)

    async def _settle(self, delivery: DeliveryRecord, answer: Answer, *, gone: bool) -> None:
        now = self._context.clock()
        attempts = delivery.attempts if gone else delivery.attempts + 1
        again = None
        if not answer.accepted and not gone:
            again = retry_at(attempts, created_at=delivery.created_at, now=now, jitter=self._dice())
            if again is None:
                log_event(
                    logging.WARNING,
                    "webhook_abandoned",
                    webhook=delivery.webhook_id,
                    event_id=delivery.event_id,
                    batch=delivery.batch_id,
                    reason=answer.error or f"the receiver answered {answer.status_code}",
                )
        await self._context.ask(
            self._store.settle,
            delivery.id,
            status="delivered" if answer.accepted else "abandoned" if again is None else "pending",
            attempts=attempts,
            next_attempt_at=again,
            delivered_at=int(now) if answer.accepted else None,
            last_status_code=answer.status_code,
            last_error=answer.error,
        )


def new_client() -> Client:
    """A client for receivers. Made anew for each round: that takes milliseconds, and leaves nothing open."""
    return (
        ClientBuilder()
        .user_agent(f"bulkrate/{__version__}")
        .timeout(timedelta(seconds=TIMEOUT_S))
        .connect_timeout(timedelta(seconds=CONNECT_TIMEOUT_S))
        # A connection each: events are few, and one sent into a connection that is just being closed is lost.
        .pool_max_idle_per_host(0)
        .follow_redirects(False)
        .build()
    )


async def post(client: Client, webhook: WebhookRecord, event: Event, *, now: float) -> Answer:
    """Send `event` to an endpoint once. Never raises for what a receiver does or leaves undone."""
    body = encode(event)
    headers = signed_headers(event.id, body, active_secrets(webhook, now=now), now=now)
    try:
        request = client.post(webhook.url).headers(headers).body_bytes(body)
        # 0: the status is all we want. With a buffer, the client would wait for a body to fill it.
        async with request.streamed_read_buffer_limit(0).build_streamed() as response:
            return Answer(status_code=response.status, error=_complaint(response.status))
    # ValueError: the library's word for a URL that it cannot use.
    except (PyreqwestError, ValueError) as cause:
        return Answer(status_code=None, error=_in_our_words(cause))


def signed_headers(
    event_id: str, body: bytes, signing_secrets: Sequence[str], *, now: float
) -> Mapping[str, str]:
    """The headers of a webhook. Sign at each try: SDKs refuse a timestamp more than five minutes off."""
    moment = datetime.fromtimestamp(int(now), UTC)
    signatures = [Webhook(secret).sign(event_id, moment, body.decode()) for secret in signing_secrets]
    return {
        "content-type": "application/json",
        "webhook-id": event_id,
        "webhook-timestamp": str(int(now)),
        "webhook-signature": " ".join(signatures),
    }


def active_secrets(webhook: WebhookRecord, *, now: float) -> Sequence[str]:
    """What signs for an endpoint: its secret, and beside it the one before while that is still good."""
    if webhook.old_secret is None or now >= (webhook.old_secret_until or 0):
        return [webhook.secret]
    return [webhook.secret, webhook.old_secret]


def event_of(delivery: DeliveryRecord) -> Event:
    """What a delivery brings; the same at every try."""
    return Event(
        id=delivery.event_id,
        created_at=delivery.created_at,
        type=delivery.event_type,
        data=EventData(id=delivery.batch_id),
    )


def _complaint(status_code: int) -> str | None:
    if 200 <= status_code < 300:
        return None
    return f"answered {status_code}" + ("; redirects are not followed" if 300 <= status_code < 400 else "")


def _in_our_words(cause: Exception) -> str:
    """Why there was no answer. The library's words hold the URL, and so perhaps a token; ours never do."""
    if not isinstance(cause, DetailedPyreqwestError):
        return "the URL cannot be used"
    causes = [found["message"].lower() for found in cause.details["causes"] or ()]
    details = " / ".join(words for words in causes if " for url " not in words)
    # The class alone misleads: a receiver that is connected but silent raises ConnectTimeoutError too.
    if "error (connect)" in details:
        return _why_not_connected(cause, details)
    if isinstance(cause, RequestTimeoutError):
        return f"no answer within {TIMEOUT_S} s"
    if isinstance(cause, DecodeError):
        return "the answer is not HTTP"
    return "the connection was lost before an answer came"


def _why_not_connected(cause: Exception, details: str) -> str:
    if isinstance(cause, ConnectTimeoutError):
        return f"no connection within {CONNECT_TIMEOUT_S} s"
    known = {
        "dns error": "the host name was not found",
        "certificate": "the TLS certificate is not trusted",
        "refused": "the connection was refused",
    }
    return next((words for sign, words in known.items() if sign in details), "no connection")

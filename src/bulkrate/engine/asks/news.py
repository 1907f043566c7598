"""News of providers: a signed webhook that says that a remote batch has changed.

It only brings the next look forward. What the batch is like is always asked of the provider itself, so that a
lost, repeated or forged webhook changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from bulkrate.engine.context import Context
from bulkrate.errors import InvalidRequest, NotFound, Unauthorized


class _Data(msgspec.Struct):
    id: str | None = None


class _Event(msgspec.Struct):
    """What Standard Webhooks and OpenAI agree on."""

    data: _Data


_event = msgspec.json.Decoder(_Event)


class News:
    """What providers tell."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def take(self, upstream: str, headers: Mapping[str, str], body: bytes) -> None:
        """A provider says that something has changed.

        Raises `NotFound` for an upstream that takes no webhooks, `Unauthorized` for a signature that is not
        its own, `InvalidRequest`.
        """
        known = self._context.settings.upstreams.get(upstream)
        if known is None or known.webhook_secret is None:
            raise NotFound(f"The upstream {upstream[:64]!r} takes no webhooks; it has no webhook_secret.")
        try:
            Webhook(known.webhook_secret).verify(body, dict(headers))
        except (WebhookVerificationError, ValueError) as cause:
            raise Unauthorized("The webhook's signature is not that of its provider.") from cause
        try:
            remote_id = _event.decode(body).data.id
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
            raise InvalidRequest("The body of a webhook is an object with 'data'.") from cause
        if remote_id is None:
            return
        hasten = self._context.store.remotes.hasten
        if await self._context.ask(hasten, remote_id, upstream=upstream):
            self._context.bells.ring_senders()

"""The door to the engine: for the server, and for anyone who embeds it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bulkrate import __version__
from bulkrate.config import Settings
from bulkrate.engine.asks.batches import Batches
from bulkrate.engine.asks.ends import Ends
from bulkrate.engine.asks.files import Files
from bulkrate.engine.asks.keys import Keys
from bulkrate.engine.asks.models import Models
from bulkrate.engine.asks.news import News
from bulkrate.engine.asks.numbers import NumbersOfAll
from bulkrate.engine.asks.run import Runner
from bulkrate.engine.asks.uploads import Uploads
from bulkrate.engine.asks.webhooks import Webhooks
from bulkrate.engine.context import Context
from bulkrate.engine.telling import silent
from bulkrate.engine.upstreams import known_upstreams
from bulkrate.errors import BlobError, StoreError
from bulkrate.wire.batches import RunAnswers, RunRequests

# Below this, the next upload or commit may fail; /health says so before that.
_FREE_BYTES_MIN = 64 << 20


class Engine:
    """Everything that can be asked for.

    The work itself is done by the clerk and the sender, in processes of their own.
    """

    def __init__(self, context: Context) -> None:
        self.settings: Settings = context.settings
        self.files = Files(context)
        self.uploads = Uploads(context)
        self.batches = Batches(context)
        self.webhooks = Webhooks(context)
        self.models = Models(context)
        self.keys = Keys(context)
        self.news = News(context)
        self.numbers = NumbersOfAll(context)
        self._context = context
        self._started_at = context.clock()
        self._ends = Ends(context)
        self._runner = Runner(context, self.files, self.batches, self._ends)

    async def run(self, project: str, ask: RunRequests) -> RunAnswers:
        """Answer a small list of requests in one call."""
        return await self._runner.run(project, ask)

    async def health(self) -> dict[str, object]:
        """How the whole is: `degraded` when something keeps work from moving, with the reasons."""
        context = self._context
        reasons: list[str] = []
        upstreams: dict[str, object] = {}
        counts: dict[str, int] = {}
        free: int | None = None
        quiet = silent(context.board, since=self._started_at, now=context.clock())
        reasons += [f"{role}: {why}" for role, why in {**quiet, **context.board.read()}.items()]
        try:
            for upstream in await context.ask(known_upstreams, context):
                state = "out" if upstream.paused else "ok" if upstream.told else "unknown"
                upstreams[upstream.name] = {"status": state, "reason": upstream.paused}
                if upstream.paused:
                    reasons.append(f"upstream {upstream.name}: {upstream.paused}")
            counts = await context.ask(context.store.batches.counts)
            free = await context.ask(context.blobs.free_bytes)
        except (StoreError, BlobError) as error:
            reasons.append(str(error))
        if free is not None and free < _FREE_BYTES_MIN:
            reasons.append(f"only {free} bytes are free on the data folder's disk")
        return {
            "status": "degraded" if reasons else "ok",
            "reasons": reasons,
            "version": __version__,
            "upstreams": upstreams,
            "batches": counts,
            "free_bytes": free,
        }

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """While this is entered, calls that wait for a batch hear of its end at once."""
        task = asyncio.create_task(self._ends.listen())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

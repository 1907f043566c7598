"""A small batch in one call: requests in, answers out, in the same order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from bulkrate.core.body import on_one_line
from bulkrate.core.validate import Request
from bulkrate.engine.asks.batches import Batches
from bulkrate.engine.asks.ends import Ends
from bulkrate.engine.asks.files import Files
from bulkrate.engine.asks.lines import results_by_line
from bulkrate.engine.context import Context
from bulkrate.errors import InvalidRequest, StillRunning
from bulkrate.wire.batches import Batch, CreateBatch, RunAnswers, RunRequests
from bulkrate.wire.files import ExpiresAfter

# The input and output of a call are kept for a day, so that its batch can be looked at.
_KEEP = ExpiresAfter(anchor="created_at", seconds=86_400)
_request = msgspec.json.Decoder(Request)


class Runner:
    """Runs lists of requests as batches of their own."""

    def __init__(self, context: Context, files: Files, batches: Batches, ends: Ends) -> None:
        self._context = context
        self._files = files
        self._batches = batches
        self._ends = ends

    async def run(self, project: str, ask: RunRequests) -> RunAnswers:
        """Answer a list of requests; each item of the reply is an output line or an error line.

        Being cancelled cancels the batch. Raises `InvalidRequest` for no or too many requests, `StillRunning`
        when the answers take longer than `limits.run_wait_s_max`; the batch then goes on and can be fetched
        by its id.
        """
        limits = self._context.settings.limits
        if not 1 <= len(ask.requests) <= limits.run_requests_max:
            raise InvalidRequest(
                f"'requests' has {len(ask.requests)} items; it may have 1 to {limits.run_requests_max}. "
                "Upload a file and create a batch for more.",
                param="requests",
            )
        batch = await self._begin(project, ask)
        try:
            ended = await self._ends.wait(batch.id, timeout_s=limits.run_wait_s_max)
        except asyncio.CancelledError:
            await asyncio.shield(self._batches.cancel(project, batch.id))
            raise
        if not ended:
            raise StillRunning(
                f"The answers took over {limits.run_wait_s_max:g} s; the batch {batch.id} goes on.",
                code="run_timeout",
            )
        batch = await self._batches.get(project, batch.id)
        if batch.errors is not None:
            first = batch.errors.data[0]
            raise InvalidRequest(first.message, code=first.code, param=first.param)
        results = await self._context.ask(results_by_line, self._context, batch.id)
        data = [msgspec.Raw(results[number]) for number in range(1, len(ask.requests) + 1)]
        return RunAnswers(batch=batch, data=data)

    async def _begin(self, project: str, ask: RunRequests) -> Batch:
        incoming = await self._files.receive()
        try:
            await incoming.write(_lines(ask.endpoint, ask.requests))
        except BaseException:
            await incoming.discard()
            raise
        file = await self._files.keep(
            project, incoming, filename="run.jsonl", purpose="batch", expires_after=_KEEP
        )
        create = CreateBatch(
            input_file_id=file.id,
            endpoint=ask.endpoint,
            completion_window=ask.completion_window,
            metadata=ask.metadata,
            output_expires_after=_KEEP,
            on_invalid_line="isolate",
        )
        try:
            return await self._batches.create(project, create)
        except BaseException:
            await self._files.delete(project, file.id)
            raise


def _lines(endpoint: str, requests: Sequence[msgspec.Raw]) -> bytes:
    """The input file: line n is request n. A plain body gets its number as `custom_id`."""
    url = msgspec.json.encode(endpoint)
    lines = []
    for number, raw in enumerate(requests, start=1):
        body = on_one_line(bytes(raw))
        try:
            plain = _request.decode(body).plain
        except msgspec.ValidationError:
            plain = False  # not an object: an error line will say so
        if plain:
            body = b'{"custom_id":"%d","method":"POST","url":%b,"body":%b}' % (number, url, body)
        lines.append(body)
    return b"\n".join(lines) + b"\n"

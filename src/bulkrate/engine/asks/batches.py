"""What one can do with a batch."""

from __future__ import annotations

import hashlib
import re
from typing import Any, cast

import msgspec

from bulkrate.core.deadline import window_s
from bulkrate.core.lifecycle import Event, Status, before
from bulkrate.engine.asks.content import Content, InputOrderedOutput, SegmentedContent, stream_segments
from bulkrate.engine.asks.files import check_expiry
from bulkrate.engine.asks.lines import find_line
from bulkrate.engine.asks.views import to_wire
from bulkrate.engine.context import Context
from bulkrate.engine.ids import new_batch_id
from bulkrate.errors import BlobMissing, Conflict, IllegalTransition, InvalidRequest, NotFound, Unprocessable
from bulkrate.providers.endpoints import ENDPOINTS, normal_path
from bulkrate.store.records import BatchRecord
from bulkrate.wire.base import Page
from bulkrate.wire.batches import Batch, CreateBatch, LinePair

_METADATA_PAIRS_MAX = 16
_METADATA_KEY_CHARS_MAX = 64
_METADATA_VALUE_CHARS_MAX = 512
_IDEMPOTENCY_KEY_CHARS_MAX = 255


class Batches:
    """The batches of every project; each method sees one project's alone."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def create(
        self,
        project: str,
        ask: CreateBatch,
        *,
        idempotency_key: str | None = None,
        fresh_input: str | None = None,
    ) -> Batch:
        """Begin a batch; what is wrong with its input is told later, by the batch itself.

        Asked again with the same `idempotency_key`, returns the first batch. `fresh_input` is the hash of an
        input that was uploaded by the same request, so that its id is another each time. Raises
        `InvalidRequest`, and `Unprocessable` when the key stood for another request.
        """
        endpoint = _endpoint(ask.endpoint)
        seconds = _window(ask.completion_window)
        metadata = _metadata(ask.metadata)
        check_expiry(ask.output_expires_after, "output_expires_after")
        _check_key(idempotency_key)
        now = self._context.clock()
        batch_id = new_batch_id(now)
        record = BatchRecord(
            id=batch_id,
            project=project,
            endpoint=endpoint,
            input_file_id=ask.input_file_id,
            completion_window=ask.completion_window,
            status=Status.VALIDATING,
            created_at=int(now),
            expires_at=int(now) + seconds,
            metadata=metadata,
            output_expires_after_s=ask.output_expires_after.seconds if ask.output_expires_after else None,
            on_invalid_line=ask.on_invalid_line,
            family=batch_id,
            idempotency_key=idempotency_key,
            idempotency_digest=_digest(ask, fresh_input) if idempotency_key else None,
        )
        created = await self._context.ask(self._context.store.batches.create, record)
        if created.idempotency_digest != record.idempotency_digest:
            raise _key_reused()
        self._context.bells.clerk.ring()
        return await self._view(created)

    async def retry(self, project: str, batch_id: str, *, idempotency_key: str | None = None) -> Batch:
        """A new batch with just the lines of an ended one that have no answer.

        It reads the same input file; lines that any batch of the family answered are left out. Raises
        `NotFound`, `Conflict` while another batch of the family runs, `InvalidRequest` when nothing is left
        to do.
        """
        _check_key(idempotency_key)
        store = self._context.store
        parent = await self._find(project, batch_id)
        await self._check_retry(project, parent)
        now = self._context.clock()
        seconds = cast(int, window_s(parent.completion_window))
        record = BatchRecord(
            id=new_batch_id(now),
            project=project,
            endpoint=parent.endpoint,
            input_file_id=parent.input_file_id,
            completion_window=parent.completion_window,
            status=Status.VALIDATING,
            created_at=int(now),
            expires_at=int(now) + seconds,
            metadata=parent.metadata,
            output_expires_after_s=parent.output_expires_after_s,
            on_invalid_line=parent.on_invalid_line,
            retry_of=parent.id,
            family=parent.family,
            idempotency_key=idempotency_key,
            idempotency_digest=f"retry {parent.id}" if idempotency_key else None,
        )
        created = await self._context.ask(store.batches.create_retry, record)
        if created is None:
            raise Conflict("Another retry of this batch is running; wait for it, then retry what it left.")
        if created.idempotency_digest != record.idempotency_digest:
            raise _key_reused()
        self._context.bells.clerk.ring()
        return await self._view(created)

    async def get(self, project: str, batch_id: str) -> Batch:
        """A batch. Raises `NotFound`."""
        return await self._view(await self._find(project, batch_id))

    async def list(self, project: str, *, limit: int = 20, after: str | None = None) -> Page[Batch]:
        """A page of batches, newest first. Raises `NotFound` for an unknown `after`."""
        store = self._context.store.batches
        place = None
        if after is not None:
            place = await self._context.ask(store.get, project, after)
            if place is None:
                raise NotFound(f"There is no batch {after[:64]} to continue after.", param="after")
        records = await self._context.ask(store.page, project, after=place, limit=limit + 1)
        data = await self._context.ask(to_wire, self._context, records[:limit])
        return Page.of(data, has_more=len(records) > limit)

    async def cancel(self, project: str, batch_id: str) -> Batch:
        """Stop a batch; what is in flight lands, what was finished is kept.

        Raises `NotFound`, `Conflict` for one that has ended.
        """
        record = await self._find(project, batch_id)
        if record.state in {Status.CANCELLING, Status.CANCELLED}:
            return await self._view(record)
        store = self._context.store.batches
        try:
            moved = await self._context.ask(
                store.move, record.id, Event.CANCEL_ASKED, now=self._context.now()
            )
        except IllegalTransition:
            record = await self._find(project, batch_id)
            if record.state in {Status.CANCELLING, Status.CANCELLED}:
                return await self._view(record)
            allowed = ", ".join(before(Event.CANCEL_ASKED))
            raise Conflict(
                f"Cannot cancel a batch with status '{record.status}'; only one that is {allowed}."
            ) from None
        self._context.bells.ring_senders()
        self._context.bells.clerk.ring()
        return await self._view(cast(BatchRecord, moved))

    async def stream(self, project: str, batch_id: str, stream: str, *, order: str | None = None) -> Content:
        """The `output` or `errors` so far.

        What was read once keeps its offset. Raises `NotFound`, `Conflict`.
        """
        record = await self._find(project, batch_id)
        await self._refuse_deleted(project, record, stream)
        extents = await self._context.ask(self._context.store.work.settled_extents, record.id)
        filename = f"{record.id}_{stream}.jsonl"
        if order == "input" and stream == "output":
            if not record.state.terminal:
                raise Conflict(
                    f"The batch is {record.status}; its output has the order of the input once it has ended."
                )
            return InputOrderedOutput(self._context.blobs, extents, filename=filename)
        return SegmentedContent(
            self._context.blobs,
            stream_segments(extents, stream),
            filename=filename,
            complete=record.state.terminal,
        )

    async def line(self, project: str, batch_id: str, custom_id: str) -> LinePair:
        """The request of one `custom_id`, and its result if there is one. Raises `NotFound`."""
        record = await self._find(project, batch_id)
        try:
            pair = await self._context.ask(find_line, self._context, record, custom_id)
        except BlobMissing:
            raise NotFound(
                f"The lines of the batch {batch_id} have been deleted.", param="custom_id"
            ) from None
        if pair is None:
            raise NotFound(
                f"The batch {batch_id} has no line with this custom_id that was fit to be sent; "
                "those that were not stand in its error file.",
                param="custom_id",
            )
        return pair

    async def _refuse_deleted(self, project: str, record: BatchRecord, stream: str) -> None:
        file_id = record.output_file_id if stream == "output" else record.error_file_id
        if file_id is None:
            return
        now = self._context.clock()
        if await self._context.ask(self._context.store.files.get, project, file_id, now=now) is None:
            raise NotFound(f"The {stream} of the batch {record.id} has been deleted, or has expired.")

    async def _check_retry(self, project: str, parent: BatchRecord) -> None:
        context = self._context
        if not parent.state.terminal:
            raise Conflict(f"The batch is {parent.status}; it can be retried once it has ended.")
        if parent.state is Status.FAILED:
            raise InvalidRequest(
                "The batch failed validation and nothing ran; correct the file and create a new batch."
            )
        file = await context.ask(context.store.files.get, project, parent.input_file_id, now=context.clock())
        if file is None:
            raise InvalidRequest(
                f"The input file {parent.input_file_id} has been deleted, so its lines cannot be sent again."
            )
        family = await context.ask(context.store.batches.family, parent.family)
        answered = sum(relative.completed for relative in family)
        if family[0].planned and answered >= family[0].total:
            raise InvalidRequest("Every line of this batch has an answer; there is nothing to retry.")
        for relative in family:
            if relative.output_file_id is None:
                continue
            output = await context.ask(
                context.store.files.get, project, relative.output_file_id, now=context.clock()
            )
            if output is None:
                raise InvalidRequest(
                    f"The output file of {relative.id} is deleted, so nobody knows what was answered; "
                    "create a new batch to send them all."
                )

    async def _find(self, project: str, batch_id: str) -> BatchRecord:
        record = await self._context.ask(self._context.store.batches.get, project, batch_id)
        if record is None:
            raise NotFound(f"No batch found with id '{batch_id}'.")
        return record

    async def _view(self, record: BatchRecord) -> Batch:
        return (await self._context.ask(to_wire, self._context, [record]))[0]


def _endpoint(given: str) -> str:
    endpoint = normal_path(given)
    if endpoint not in ENDPOINTS:
        listed = ", ".join(f"'{path}'" for path in ENDPOINTS)
        raise InvalidRequest(
            f"Invalid value: '{given[:64]}'. Supported values are: {listed}.",
            code="invalid_value",
            param="endpoint",
        )
    return endpoint


def _window(given: str) -> int:
    seconds = window_s(given)
    if seconds is None:
        raise InvalidRequest(
            f"Invalid value: '{given[:64]}'. Supported are '24h' and any other window from '1h' to '30d'.",
            code="invalid_value",
            param="completion_window",
        )
    return seconds


def _metadata(given: Any) -> bytes | None:
    """Check metadata by OpenAI's rules; its JSON."""
    if given is None:
        return None
    if not isinstance(given, dict):
        raise InvalidRequest(
            "'metadata' must be an object of strings.", code="invalid_type", param="metadata"
        )
    if len(given) > _METADATA_PAIRS_MAX:
        raise InvalidRequest(
            f"'metadata' has {len(given)} pairs; it may have {_METADATA_PAIRS_MAX}.",
            code="object_above_max_properties",
            param="metadata",
        )
    for key, value in given.items():
        param = f"metadata.{key[:_METADATA_KEY_CHARS_MAX]}"
        if not isinstance(value, str):
            raise InvalidRequest(
                f"Invalid type for '{param}': expected a string.", code="invalid_type", param=param
            )
        if len(key) > _METADATA_KEY_CHARS_MAX:
            raise InvalidRequest(
                f"A key of 'metadata' has {len(key)} characters; it may have {_METADATA_KEY_CHARS_MAX}.",
                code="invalid_value",
                param="metadata",
            )
        if len(value) > _METADATA_VALUE_CHARS_MAX:
            raise InvalidRequest(
                f"'{param}' has {len(value)} characters; it may have {_METADATA_VALUE_CHARS_MAX}.",
                code="string_above_max_length",
                param=param,
            )
    return msgspec.json.encode(given)


def _check_key(key: str | None) -> None:
    if key is not None and not re.fullmatch(rf"[\x21-\x7e]{{1,{_IDEMPOTENCY_KEY_CHARS_MAX}}}", key):
        raise InvalidRequest(
            f"The header Idempotency-Key must be 1 to {_IDEMPOTENCY_KEY_CHARS_MAX} printable characters."
        )


def _digest(ask: CreateBatch, fresh_input: str | None) -> str:
    asked = msgspec.structs.replace(ask, input_file_id=fresh_input) if fresh_input else ask
    return hashlib.sha256(msgspec.json.encode(asked, order="sorted")).hexdigest()


def _key_reused() -> Unprocessable:
    return Unprocessable(
        "This Idempotency-Key was used for another request; use a new one.", code="idempotency_key_reused"
    )

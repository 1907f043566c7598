"""Routes of batches."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import msgspec
from starlette.responses import Response

from bulkrate.server.content import growing_answer
from bulkrate.server.decode import decode_fields
from bulkrate.server.form import FilledForm, fill_form
from bulkrate.server.listening import while_listening
from bulkrate.server.operations import Call
from bulkrate.wire.base import Ask, Page
from bulkrate.wire.batches import Batch, CreateBatch, LinePair, RunAnswers
from bulkrate.wire.files import ExpiresAfter


class CreateBatchFromFile(Ask, frozen=True, kw_only=True):
    """The fields beside the input file, when both come in one request."""

    endpoint: str
    completion_window: str = "24h"
    metadata: Any = None
    output_expires_after: ExpiresAfter | None = None
    on_invalid_line: Literal["fail", "isolate"] = "fail"


async def create(call: Call) -> Batch:
    if call.ask is None:
        return await _create_with_file(call)
    return await call.engine.batches.create(call.project, call.ask, idempotency_key=call.idempotency_key)


async def _create_with_file(call: Call) -> Batch:
    files, limits = call.engine.files, call.engine.settings.limits
    receive = partial(files.receive, hashed=call.idempotency_key is not None)
    async with fill_form(call.request, receive, part="file", file_bytes_max=limits.file_bytes_max) as form:
        fields = decode_fields(form.fields, CreateBatchFromFile)
        file_id = await _keep_input(call, form)
    ask = CreateBatch(input_file_id=file_id, **msgspec.structs.asdict(fields))
    try:
        batch = await call.engine.batches.create(
            call.project, ask, idempotency_key=call.idempotency_key, fresh_input=form.incoming.digest
        )
    except BaseException:
        # The caller never learns the file's id, so it would stay for ever.
        await files.delete(call.project, file_id)
        raise
    if batch.input_file_id != file_id:  # asked before with the same Idempotency-Key: that batch has its own
        await files.delete(call.project, file_id)
    return batch


async def _keep_input(call: Call, form: FilledForm) -> str:
    kept = await call.engine.files.keep(
        call.project, form.incoming, filename=form.filename, purpose="batch", expires_after=None
    )
    return kept.id


async def run(call: Call) -> RunAnswers:
    # A client that stops waiting no longer wants the answers; the engine cancels the batch.
    return await while_listening(call.request.receive, call.engine.run(call.project, call.ask))


async def listing(call: Call) -> Page[Batch]:
    return await call.engine.batches.list(call.project, **call.query)


async def get(call: Call) -> Batch:
    return await call.engine.batches.get(call.project, call.path["batch_id"])


async def cancel(call: Call) -> Batch:
    return await call.engine.batches.cancel(call.project, call.path["batch_id"])


async def retry(call: Call) -> Batch:
    return await call.engine.batches.retry(
        call.project, call.path["batch_id"], idempotency_key=call.idempotency_key
    )


async def output(call: Call) -> Response:
    return await _stream(call, "output")


async def errors(call: Call) -> Response:
    return await _stream(call, "errors")


async def _stream(call: Call, stream: str) -> Response:
    content = await call.engine.batches.stream(
        call.project, call.path["batch_id"], stream, order=call.query["order"]
    )
    return growing_answer(content, call.request, offset=call.query["offset"])


async def line(call: Call) -> LinePair:
    return await call.engine.batches.line(call.project, call.path["batch_id"], call.query["custom_id"])

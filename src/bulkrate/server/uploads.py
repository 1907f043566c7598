"""Routes of uploads: files that come in parts."""

from __future__ import annotations

from functools import partial

import msgspec

from bulkrate.server.filename import safe_filename
from bulkrate.server.form import fill_form
from bulkrate.server.operations import Call
from bulkrate.wire.files import Upload, UploadPart


async def create(call: Call) -> Upload:
    ask = msgspec.structs.replace(call.ask, filename=safe_filename(call.ask.filename))
    return await call.engine.uploads.create(call.project, ask)


async def add_part(call: Call) -> UploadPart:
    uploads, upload_id = call.engine.uploads, call.path["upload_id"]
    receive = partial(uploads.receive, call.project, upload_id)
    bytes_max = call.engine.settings.limits.upload_part_bytes_max
    async with fill_form(call.request, receive, part="data", file_bytes_max=bytes_max) as form:
        return await uploads.add_part(call.project, upload_id, form.incoming)


async def complete(call: Call) -> Upload:
    return await call.engine.uploads.complete(call.project, call.path["upload_id"], call.ask)


async def cancel(call: Call) -> Upload:
    return await call.engine.uploads.cancel(call.project, call.path["upload_id"])

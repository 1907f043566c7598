"""Routes of files."""

from __future__ import annotations

from starlette.responses import Response

from bulkrate.server.content import content_answer
from bulkrate.server.decode import decode_fields
from bulkrate.server.form import fill_form
from bulkrate.server.operations import Call
from bulkrate.wire.base import Ask, Page
from bulkrate.wire.files import ExpiresAfter, File, FileDeleted


class CreateFile(Ask, frozen=True, kw_only=True):
    """The fields beside the file."""

    purpose: str
    expires_after: ExpiresAfter | None = None


async def create(call: Call) -> File:
    files, limits = call.engine.files, call.engine.settings.limits
    async with fill_form(
        call.request, files.receive, part="file", file_bytes_max=limits.file_bytes_max
    ) as form:
        ask = decode_fields(form.fields, CreateFile)
        return await files.keep(
            call.project,
            form.incoming,
            filename=form.filename,
            purpose=ask.purpose,
            expires_after=ask.expires_after,
        )


async def listing(call: Call) -> Page[File]:
    return await call.engine.files.list(call.project, **call.query)


async def get(call: Call) -> File:
    return await call.engine.files.get(call.project, call.path["file_id"])


async def delete(call: Call) -> FileDeleted:
    return await call.engine.files.delete(call.project, call.path["file_id"])


async def content(call: Call) -> Response:
    found = await call.engine.files.content(call.project, call.path["file_id"], order=call.query["order"])
    return content_answer(found, call.request)

"""A form with one file in it: the file goes straight to the disk, the fields are kept, both within bounds.

The whole file is never in memory. Whatever goes wrong until the caller is done, nothing is left behind.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import Request

from bulkrate.errors import InvalidRequest
from bulkrate.server.body import bounded_stream, refuse_announced
from bulkrate.server.filename import NAMELESS, safe_filename
from bulkrate.server.multipart import Event, PartBegins, PartBytes, Parts, boundary_of

if TYPE_CHECKING:
    from bulkrate.engine import Incoming

FIELDS_MAX = 64
FIELD_BYTES_MAX = 64 * 1024
#: What boundaries, headers and fields may add to the file itself.
OVERHEAD_BYTES_MAX = (FIELDS_MAX + 1) * (FIELD_BYTES_MAX + 64 * 1024)
# Fewer, larger writes: each is a hop to a thread.
WRITE_BYTES = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class FilledForm:
    """A form that has arrived whole."""

    incoming: Incoming
    filename: str
    fields: Mapping[str, str]


@asynccontextmanager
async def fill_form(
    request: Request, receive: Callable[[], Awaitable[Incoming]], *, part: str, file_bytes_max: int
) -> AsyncIterator[FilledForm]:
    """Read the whole form, with the bytes of `part` written to what `receive` opens.

    Leaving the block with an exception discards the bytes; leaving it normally means that they were kept.
    """
    boundary = boundary_of(request.headers.get("content-type"), part=part)
    bytes_max = file_bytes_max + OVERHEAD_BYTES_MAX
    refuse_announced(request, bytes_max)
    incoming = await receive()
    try:
        sorting = _Sorting(incoming, part)
        parts = Parts(boundary)
        async for data in bounded_stream(request, bytes_max):
            for event in parts.feed(data):
                await sorting.take(event)
        parts.finish()
        yield sorting.filled()
    except BaseException:
        await incoming.discard()
        raise


class _Sorting:
    """Takes the parts as they come: one to the disk, the others into a dictionary."""

    def __init__(self, incoming: Incoming, part: str) -> None:
        self._incoming = incoming
        self._part = part
        self._name = ""
        self._filename: str | None = None
        self._in_file = False
        self._held = bytearray()
        self._fields: dict[str, str] = {}
        self._parts = 0

    async def take(self, event: Event) -> None:
        if isinstance(event, PartBegins):
            self._begin(event)
        elif isinstance(event, PartBytes):
            await self._add(event.data)
        else:
            await self._end()

    def filled(self) -> FilledForm:
        if self._filename is None:
            raise InvalidRequest(
                f"Missing required parameter: '{self._part}'. Send the bytes in a part of that name.",
                code="missing_required_parameter",
                param=self._part,
            )
        return FilledForm(incoming=self._incoming, filename=self._filename, fields=self._fields)

    def _begin(self, part: PartBegins) -> None:
        self._parts += 1
        if self._parts > FIELDS_MAX + 1:
            raise InvalidRequest(f"The form has more than {FIELDS_MAX} fields.")
        self._name = part.name
        self._in_file = part.name == self._part
        if not self._in_file:
            return
        if self._filename is not None:
            raise InvalidRequest(
                f"The form has two parts named '{self._part}'. Send one file in each request.",
                param=self._part,
            )
        self._filename = safe_filename(part.filename or NAMELESS)

    async def _add(self, data: bytes) -> None:
        self._held += data
        if self._in_file:
            if len(self._held) >= WRITE_BYTES:
                await self._write()
        elif len(self._held) > FIELD_BYTES_MAX:
            raise InvalidRequest(
                f"The form's field '{self._name[:64]}' is longer than {FIELD_BYTES_MAX:,} bytes. "
                f"The file goes into a part named '{self._part}'.",
                param=self._name[:64],
            )

    async def _end(self) -> None:
        if self._in_file:
            await self._write()
            return
        try:
            self._fields[self._name] = self._held.decode()
        except UnicodeDecodeError:
            raise InvalidRequest(
                f"The form's field '{self._name[:64]}' is not UTF-8 text.", param=self._name[:64]
            ) from None
        self._held.clear()

    async def _write(self) -> None:
        if self._held:
            data = bytes(self._held)
            self._held.clear()
            await self._incoming.write(data)

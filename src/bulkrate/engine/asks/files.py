"""What one can do with a file."""

from __future__ import annotations

import hashlib

import msgspec

from bulkrate.blobs import Writer
from bulkrate.core.lines import BOM
from bulkrate.engine import paths
from bulkrate.engine.asks.content import (
    Content,
    InputOrderedOutput,
    Segment,
    SegmentedContent,
    stream_segments,
)
from bulkrate.engine.context import Context
from bulkrate.engine.ids import new_file_id
from bulkrate.engine.points import reach
from bulkrate.engine.retention import expiry
from bulkrate.errors import BlobError, InvalidRequest, NoSpace, NotFound, StoreError, TooLarge, Unavailable
from bulkrate.store.records import FileRecord
from bulkrate.wire.base import Page
from bulkrate.wire.files import (
    EXPIRES_AFTER_S_MAX,
    EXPIRES_AFTER_S_MIN,
    UPLOAD_PURPOSES,
    ExpiresAfter,
    File,
    FileDeleted,
)

# The start of an upload that is kept in memory, to see whether its first line is JSON.
_HEAD_BYTES = 1 << 20


class Incoming:
    """Bytes on their way in. Nothing is left behind unless the file is kept."""

    def __init__(self, context: Context, key: str, *, bytes_max: int, hashed: bool = False) -> None:
        self.key = key
        self.head = b""
        self._context = context
        self._bytes_max = bytes_max
        self._hash = hashlib.blake2b(digest_size=16) if hashed else None
        self._writer: Writer = context.blobs.create(key)

    @property
    def size(self) -> int:
        """How many bytes have come."""
        return self._writer.size

    @property
    def digest(self) -> str | None:
        """A hash of what has come, if it was asked for."""
        return self._hash.hexdigest() if self._hash else None

    async def write(self, data: bytes) -> None:
        """Take some more. Raises `TooLarge`, `Unavailable`."""
        if self.size + len(data) > self._bytes_max:
            raise TooLarge(f"The file is too large; at most {self._bytes_max} bytes are taken.", param="file")
        if len(self.head) < _HEAD_BYTES:
            self.head += data[: _HEAD_BYTES - len(self.head)]
        try:
            await self._context.ask(self._write, data)
        except BlobError as cause:
            raise _unavailable(cause) from cause

    async def keep(self) -> None:
        """Make the bytes durable. Raises `Unavailable`."""
        try:
            await self._context.ask(self._writer.keep)
        except BlobError as cause:
            raise _unavailable(cause) from cause

    async def discard(self) -> None:
        """Leave nothing behind. Does nothing once the bytes are kept."""
        await self._context.ask(self._writer.discard)

    def _write(self, data: bytes) -> None:
        self._writer.write(data)
        if self._hash:
            self._hash.update(data)


class Files:
    """The files of every project; each method sees one project's alone."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def receive(self, *, hashed: bool = False) -> Incoming:
        """Begin an upload. Raises `Unavailable`."""
        bytes_max = self._context.settings.limits.file_bytes_max
        try:
            return Incoming(self._context, paths.of_file(new_file_id()), bytes_max=bytes_max, hashed=hashed)
        except BlobError as cause:
            raise _unavailable(cause) from cause

    async def keep(
        self,
        project: str,
        incoming: Incoming,
        *,
        filename: str,
        purpose: str,
        expires_after: ExpiresAfter | None,
    ) -> File:
        """Turn what came in into a file. Raises `InvalidRequest`, and then leaves nothing behind."""
        try:
            check_purpose(purpose)
            check_expiry(expires_after)
            if purpose == "batch":
                _check_batch_input(filename, incoming)
            reach("upload.received")
            await incoming.keep()
            reach("upload.kept")
        except BaseException:
            await incoming.discard()
            raise
        now = self._context.now()
        record = FileRecord(
            id=incoming.key.rpartition("/")[2],
            project=project,
            filename=filename,
            purpose=purpose,
            bytes=incoming.size,
            created_at=now,
            expires_at=expiry(purpose, expires_after.seconds if expires_after else None, now),
            blob=incoming.key,
        )
        try:
            return to_wire(await self._context.ask(self._context.store.files.add, record))
        except StoreError:
            await self._context.ask(self._context.blobs.delete, incoming.key)
            raise

    async def list(
        self,
        project: str,
        *,
        purpose: str | None = None,
        limit: int = 10_000,
        order: str = "desc",
        after: str | None = None,
    ) -> Page[File]:
        """A page of files in order of creation. Raises `NotFound` for an unknown `after`."""
        store = self._context.store.files
        place = None
        if after is not None:
            place = await self._context.ask(store.place, project, after)
            if place is None:
                raise NotFound(f"There is no file {after[:64]} to continue after.", param="after")
        records = await self._context.ask(
            store.page,
            project,
            purpose=purpose,
            newest_first=order == "desc",
            after=place,
            limit=limit + 1,
            now=self._context.clock(),
        )
        data = [to_wire(record) for record in records[:limit]]
        return Page.of(data, has_more=len(records) > limit)

    async def get(self, project: str, file_id: str) -> File:
        """A file. Raises `NotFound`."""
        return to_wire(await self._find(project, file_id))

    async def delete(self, project: str, file_id: str) -> FileDeleted:
        """Delete a file. A batch that reads it goes on. Raises `NotFound`."""
        store = self._context.store.files
        if not await self._context.ask(store.delete, project, file_id, now=self._context.now()):
            raise _no_such_file(file_id)
        self._context.bells.clerk.ring()
        return FileDeleted(id=file_id)

    async def content(self, project: str, file_id: str, *, order: str | None = None) -> Content:
        """The bytes of a file; `order="input"` puts an output file into the order of its input.

        Raises `NotFound`.
        """
        record = await self._find(project, file_id)
        blobs = self._context.blobs
        if record.blob is not None:
            return SegmentedContent(blobs, [Segment(record.blob, 0, record.bytes)], filename=record.filename)
        extents = await self._context.ask(self._context.store.work.extents, str(record.batch_id))
        if order == "input" and record.stream == "output":
            return InputOrderedOutput(blobs, extents, filename=record.filename)
        return SegmentedContent(blobs, stream_segments(extents, str(record.stream)), filename=record.filename)

    async def _find(self, project: str, file_id: str) -> FileRecord:
        record = await self._context.ask(
            self._context.store.files.get, project, file_id, now=self._context.clock()
        )
        if record is None:
            raise _no_such_file(file_id)
        return record


def to_wire(record: FileRecord) -> File:
    """The file as the API shows it."""
    return File(
        id=record.id,
        bytes=record.bytes,
        created_at=record.created_at,
        filename=record.filename,
        purpose=record.purpose,
        expires_at=record.expires_at,
    )


def check_purpose(purpose: str) -> None:
    """Raise `InvalidRequest` for a purpose that cannot be uploaded for."""
    if purpose not in UPLOAD_PURPOSES:
        raise InvalidRequest(
            f"'{purpose[:64]}' is not one of {list(UPLOAD_PURPOSES)} - 'purpose'",
            code="invalid_value",
            param="purpose",
        )


def check_expiry(expires_after: ExpiresAfter | None, param: str = "expires_after") -> None:
    """Raise `InvalidRequest` for a time outside one hour to thirty days."""
    if expires_after is None:
        return
    if expires_after.seconds < EXPIRES_AFTER_S_MIN:
        code, limit = "integer_below_min_value", f">= {EXPIRES_AFTER_S_MIN}"
    elif expires_after.seconds > EXPIRES_AFTER_S_MAX:
        code, limit = "integer_above_max_value", f"<= {EXPIRES_AFTER_S_MAX}"
    else:
        return
    raise InvalidRequest(
        f"Invalid '{param}.seconds': expected a value {limit}, found {expires_after.seconds}.",
        code=code,
        param=f"{param}.seconds",
    )


def _check_batch_input(filename: str, incoming: Incoming) -> None:
    """What OpenAI checks at upload: the ending, and that the first line is JSON. Everything else waits for
    the batch.
    """
    stem, dot, ending = filename.rpartition(".")
    wrong_ending = bool(dot and stem) and ending.lower() not in {"jsonl", "ndjson"}
    first, newline, _ = incoming.head.removeprefix(BOM).lstrip().partition(b"\n")
    if (
        wrong_ending
        or not first
        or (not newline and incoming.size > _HEAD_BYTES and not first.startswith(b"{"))
    ):
        raise _not_jsonl()
    if newline or incoming.size <= _HEAD_BYTES:
        try:
            msgspec.json.decode(first)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise _not_jsonl() from None


def _not_jsonl() -> InvalidRequest:
    return InvalidRequest(
        "Invalid file format for Batch API. Must be .jsonl: one JSON object per line, and not empty."
    )


def _no_such_file(file_id: str) -> NotFound:
    return NotFound(f"No such File object: {file_id}", param="id")


def _unavailable(cause: BlobError) -> Unavailable:
    if isinstance(cause, NoSpace):
        return Unavailable(
            "The server's disk is full. Nothing of this request was kept; try again when there is room."
        )
    return Unavailable("The server cannot write to its disk. Nothing of this request was kept.")

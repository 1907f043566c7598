"""What one can do with an upload: a file that comes in parts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from bulkrate.engine import paths
from bulkrate.engine.asks.files import Incoming, check_expiry, check_purpose, to_wire
from bulkrate.engine.context import Context
from bulkrate.engine.ids import new_file_id, new_id
from bulkrate.engine.retention import expiry
from bulkrate.errors import BlobError, InvalidRequest, NotFound, StoreError, TooLarge, Unavailable
from bulkrate.store.records import FileRecord, PartRecord, UploadRecord
from bulkrate.wire.files import CompleteUpload, CreateUpload, File, Upload, UploadPart

#: How long an upload may take, as at OpenAI.
UPLOAD_S_MAX = 3_600
_JOIN_BYTES = 1 << 22


class Uploads:
    """Uploads of every project; each method sees one project's alone."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def create(self, project: str, ask: CreateUpload) -> Upload:
        """Begin an upload. Raises `InvalidRequest`, `TooLarge`."""
        check_purpose(ask.purpose)
        check_expiry(ask.expires_after)
        bytes_max = self._context.settings.limits.file_bytes_max
        if ask.bytes < 1:
            raise InvalidRequest("'bytes' must be at least 1.", code="integer_below_min_value", param="bytes")
        if ask.bytes > bytes_max:
            raise TooLarge(f"'bytes' is {ask.bytes}; at most {bytes_max} are taken.", param="bytes")
        now = self._context.now()
        record = UploadRecord(
            id=new_id("upload_"),
            project=project,
            filename=ask.filename,
            purpose=ask.purpose,
            bytes=ask.bytes,
            created_at=now,
            expires_at=now + UPLOAD_S_MAX,
            status="pending",
            expires_after_s=ask.expires_after.seconds if ask.expires_after else None,
        )
        await self._context.ask(self._context.store.uploads.add, record)
        return _to_wire(record)

    async def receive(self, project: str, upload_id: str) -> Incoming:
        """Begin a part. Raises `NotFound`, `InvalidRequest` when the upload takes no more parts."""
        await self._pending(project, upload_id)
        bytes_max = self._context.settings.limits.upload_part_bytes_max
        try:
            return Incoming(self._context, paths.of_part(new_id("part_")), bytes_max=bytes_max)
        except BlobError as cause:
            raise Unavailable("The server cannot write to its disk; try again later.") from cause

    async def add_part(self, project: str, upload_id: str, incoming: Incoming) -> UploadPart:
        """Keep a part. Parts may come in any order and at once; `complete` says how they are joined."""
        store = self._context.store.uploads
        try:
            upload = await self._pending(project, upload_id)
            received = await self._context.ask(store.received, upload_id)
            if received + incoming.size > upload.bytes:
                raise TooLarge(f"With this part the upload has more than its declared {upload.bytes} bytes.")
            await incoming.keep()
        except BaseException:
            await incoming.discard()
            raise
        part = PartRecord(
            id=incoming.key.rpartition("/")[2],
            upload_id=upload_id,
            bytes=incoming.size,
            created_at=self._context.now(),
            blob=incoming.key,
        )
        try:
            added = await self._context.ask(store.add_part, part)
        except StoreError:
            await self._context.ask(self._context.blobs.delete, part.blob)
            raise
        if not added:
            await self._context.ask(self._context.blobs.delete, part.blob)
            raise _not_pending(upload_id, "no longer pending")
        return UploadPart(id=part.id, created_at=part.created_at, upload_id=upload_id)

    async def complete(self, project: str, upload_id: str, ask: CompleteUpload) -> Upload:
        """Join the parts into a file. Raises `InvalidRequest` when parts, size or `md5` do not fit."""
        upload = await self._find(project, upload_id)
        if upload.status == "completed":  # asked again after a lost answer
            return await self._completed(project, upload)
        await self._pending(project, upload_id)
        parts = {
            part.id: part for part in await self._context.ask(self._context.store.uploads.parts, upload_id)
        }
        for part_id in ask.part_ids:
            if part_id not in parts:
                raise InvalidRequest(
                    f"The upload has no part {part_id}.", param="part_ids", code="invalid_value"
                )
        if len(set(ask.part_ids)) != len(ask.part_ids):
            raise InvalidRequest("'part_ids' names a part twice.", param="part_ids", code="invalid_value")
        chosen = [parts[part_id] for part_id in ask.part_ids]
        size = sum(part.bytes for part in chosen)
        if size != upload.bytes:
            raise InvalidRequest(
                f"The parts have {size} bytes together; the upload was declared with {upload.bytes}.",
                param="part_ids",
            )
        file = await self._context.ask(self._join, upload, chosen, ask.md5)
        try:
            completed = await self._context.ask(self._context.store.uploads.complete, upload_id, file)
        except StoreError:
            await self._context.ask(self._context.blobs.delete, str(file.blob))
            raise
        if not completed:
            await self._context.ask(self._context.blobs.delete, str(file.blob))
            return await self._completed(project, await self._find(project, upload_id))
        self._context.bells.clerk.ring()
        return _to_wire(upload, status="completed", file=to_wire(file))

    async def cancel(self, project: str, upload_id: str) -> Upload:
        """Give an upload up. Raises `InvalidRequest` when it is complete."""
        upload = await self._find(project, upload_id)
        if upload.status == "cancelled":
            return _to_wire(upload)
        if not await self._context.ask(self._context.store.uploads.end, upload_id, "cancelled"):
            raise _not_pending(upload_id, upload.status)
        self._context.bells.clerk.ring()
        return _to_wire(upload, status="cancelled")

    def _join(self, upload: UploadRecord, parts: Sequence[PartRecord], md5: str | None) -> FileRecord:
        blobs = self._context.blobs
        now = self._context.now()
        file_id = new_file_id()
        writer = blobs.create(paths.of_file(file_id))
        digest = hashlib.md5(usedforsecurity=False)
        try:
            for part in parts:
                reader = blobs.open(part.blob)
                offset = 0
                while chunk := reader.read_at(offset, _JOIN_BYTES):
                    writer.write(chunk)
                    digest.update(chunk)
                    offset += len(chunk)
                reader.close()
            if md5 is not None and md5.lower() != digest.hexdigest():
                raise InvalidRequest(
                    f"The parts have the md5 {digest.hexdigest()}; '{md5[:64]}' was expected.", param="md5"
                )
            writer.keep()
        except BlobError as cause:
            writer.discard()
            raise Unavailable("The server could not join the parts; try again later.") from cause
        except BaseException:
            writer.discard()
            raise
        return FileRecord(
            id=file_id,
            project=upload.project,
            filename=upload.filename,
            purpose=upload.purpose,
            bytes=upload.bytes,
            created_at=now,
            expires_at=expiry(upload.purpose, upload.expires_after_s, now),
            blob=paths.of_file(file_id),
        )

    async def _completed(self, project: str, upload: UploadRecord) -> Upload:
        if upload.status != "completed" or upload.file_id is None:
            raise _not_pending(upload.id, upload.status)
        record = await self._context.ask(self._context.store.files.place, project, upload.file_id)
        return _to_wire(upload, file=to_wire(record) if record else None)

    async def _find(self, project: str, upload_id: str) -> UploadRecord:
        upload = await self._context.ask(self._context.store.uploads.get, project, upload_id)
        if upload is None:
            raise NotFound(f"No such Upload object: {upload_id}", param="upload_id")
        return upload

    async def _pending(self, project: str, upload_id: str) -> UploadRecord:
        upload = await self._find(project, upload_id)
        if upload.status == "pending" and upload.expires_at <= self._context.clock():
            raise _not_pending(upload_id, "expired")
        if upload.status != "pending":
            raise _not_pending(upload_id, upload.status)
        return upload


def _to_wire(record: UploadRecord, *, status: str | None = None, file: File | None = None) -> Upload:
    return Upload(
        id=record.id,
        bytes=record.bytes,
        created_at=record.created_at,
        expires_at=record.expires_at,
        filename=record.filename,
        purpose=record.purpose,
        status=status or record.status,
        file=file,
    )


def _not_pending(upload_id: str, status: str) -> InvalidRequest:
    return InvalidRequest(f"The upload {upload_id} is {status}; begin another one.")

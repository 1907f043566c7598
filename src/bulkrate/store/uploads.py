"""Records of uploads, which are files on their way in parts."""

from __future__ import annotations

from sqlalchemy import Connection, delete, func, insert, select, update

from bulkrate.store.database import Database
from bulkrate.store.records import FileRecord, PartRecord, UploadRecord
from bulkrate.store.schema import files, upload_parts, uploads


class UploadStore:
    """Uploads and their parts."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, upload: UploadRecord) -> None:
        """Begin an upload."""
        self._db.change(insert(uploads).values(**upload.values()))

    def get(self, project: str, upload_id: str) -> UploadRecord | None:
        """The upload, unless it is another project's."""
        query = select(uploads).where(uploads.c.id == upload_id, uploads.c.project == project)
        return self._db.first(UploadRecord, query)

    def add_part(self, part: PartRecord) -> bool:
        """Record a part whose bytes are durable; False when the upload is no longer pending."""
        with self._db.write() as connection:
            pending = select(uploads.c.id).where(
                uploads.c.id == part.upload_id, uploads.c.status == "pending"
            )
            if connection.execute(pending).first() is None:
                return False
            connection.execute(insert(upload_parts).values(**part.values()))
            return True

    def parts(self, upload_id: str) -> list[PartRecord]:
        """All parts, in no order that matters."""
        query = select(upload_parts).where(upload_parts.c.upload_id == upload_id)
        return self._db.all(PartRecord, query)

    def received(self, upload_id: str) -> int:
        """How many bytes the parts have so far."""
        query = select(func.coalesce(func.sum(upload_parts.c.bytes), 0)).where(
            upload_parts.c.upload_id == upload_id
        )
        return int(self._db.value(query))

    def complete(self, upload_id: str, file: FileRecord) -> bool:
        """Turn a pending upload into `file`; False when it is no longer pending."""
        with self._db.write() as connection:
            if not _end(connection, upload_id, "completed", file_id=file.id):
                return False
            connection.execute(insert(files).values(**file.values()))
            return True

    def end(self, upload_id: str, status: str) -> bool:
        """Cancel or expire a pending upload; False when it is no longer pending."""
        with self._db.write() as connection:
            return _end(connection, upload_id, status)

    def lapsed(self, *, now: int) -> list[str]:
        """Pending uploads past their `expires_at`."""
        query = select(uploads.c.id).where(uploads.c.status == "pending", uploads.c.expires_at <= now)
        return self._db.column(query)

    def ended_with_parts(self) -> list[str]:
        """Ended uploads that still have parts lying about."""
        query = (
            select(upload_parts.c.upload_id)
            .join(uploads, uploads.c.id == upload_parts.c.upload_id)
            .where(uploads.c.status != "pending")
            .distinct()
        )
        return self._db.column(query)

    def forget_parts(self, upload_id: str) -> None:
        """Remove the records of parts whose bytes are gone."""
        self._db.change(delete(upload_parts).where(upload_parts.c.upload_id == upload_id))


def _end(connection: Connection, upload_id: str, status: str, **values: str) -> bool:
    query = (
        update(uploads)
        .where(uploads.c.id == upload_id, uploads.c.status == "pending")
        .values(status=status, **values)
    )
    return connection.execute(query).rowcount == 1

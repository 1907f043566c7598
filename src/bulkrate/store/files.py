"""Records of files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import ColumnElement, and_, exists, insert, or_, select, update

from bulkrate.core.lifecycle import Status
from bulkrate.store.database import Database
from bulkrate.store.records import FileRecord
from bulkrate.store.schema import batches, files, upload_parts

_LIVE = [status.value for status in Status if not status.terminal]


class FileStore:
    """Files, visible to their project until they are deleted or expire."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, file: FileRecord) -> FileRecord:
        """Record a file whose bytes are already durable."""
        with self._db.write() as connection:
            seq = connection.execute(
                insert(files).values(**file.values()).returning(files.c.seq)
            ).scalar_one()
        return replace(file, seq=seq)

    def get(self, project: str, file_id: str, *, now: float) -> FileRecord | None:
        """The file, unless it is another project's, deleted or expired."""
        query = select(files).where(files.c.id == file_id, files.c.project == project, _visible(now))
        return self._db.first(FileRecord, query)

    def place(self, project: str, file_id: str) -> FileRecord | None:
        """Where a file stands in lists, even if it was deleted since."""
        query = select(files).where(files.c.id == file_id, files.c.project == project)
        return self._db.first(FileRecord, query)

    def page(
        self,
        project: str,
        *,
        purpose: str | None,
        newest_first: bool,
        after: FileRecord | None,
        limit: int,
        now: float,
    ) -> list[FileRecord]:
        """Up to `limit` files in order of creation, beginning behind `after`."""
        query = select(files).where(files.c.project == project, _visible(now)).limit(limit)
        if purpose is not None:
            query = query.where(files.c.purpose == purpose)
        if after is not None:
            query = query.where(files.c.seq < after.seq if newest_first else files.c.seq > after.seq)
        query = query.order_by(files.c.seq.desc() if newest_first else files.c.seq)
        return self._db.all(FileRecord, query)

    def delete(self, project: str, file_id: str, *, now: int) -> bool:
        """Take the file away from its owner; whether there was one. Its bytes go when no batch reads them."""
        query = (
            update(files)
            .where(files.c.id == file_id, files.c.project == project, _visible(now))
            .values(deleted_at=now)
        )
        return self._db.change(query) == 1

    def expire(self, *, now: int) -> int:
        """Delete what has reached its `expires_at`; how many."""
        query = (
            update(files)
            .where(files.c.deleted_at.is_(None), files.c.expires_at <= now)
            .values(deleted_at=now)
        )
        return self._db.change(query)

    def unreferenced(self, *, limit: int) -> list[FileRecord]:
        """Deleted files whose bytes nobody reads any more.

        An input stays while one of its batches is live; an output or error file while its sibling is there,
        since both are cut from the same logs, and while a batch of its family is live, since a retry reads
        which lines are answered.
        """
        sibling = files.alias()
        own = batches.alias()
        kin = batches.alias()
        feeds_live_batch = exists().where(batches.c.input_file_id == files.c.id, batches.c.status.in_(_LIVE))
        sibling_is_there = exists().where(
            sibling.c.batch_id == files.c.batch_id, sibling.c.id != files.c.id, sibling.c.deleted_at.is_(None)
        )
        family_lives = exists().where(
            own.c.id == files.c.batch_id, kin.c.family == own.c.family, kin.c.status.in_(_LIVE)
        )
        query = (
            select(files)
            .where(
                files.c.deleted_at.is_not(None),
                ~files.c.purged,
                or_(
                    and_(files.c.blob.is_not(None), ~feeds_live_batch),
                    and_(files.c.stream.is_not(None), ~sibling_is_there, ~family_lives),
                ),
            )
            .limit(limit)
        )
        return self._db.all(FileRecord, query)

    def unknown(self, blobs: Sequence[str]) -> set[str]:
        """Those of `blobs` that no file and no part of an upload stands on."""
        of_files = select(files.c.blob).where(files.c.blob.in_(blobs))
        of_parts = select(upload_parts.c.blob).where(upload_parts.c.blob.in_(blobs))
        with self._db.read() as connection:
            known = {*connection.execute(of_files).scalars(), *connection.execute(of_parts).scalars()}
        return set(blobs) - known

    def purged(self, file_id: str) -> None:
        """Note that a deleted file's bytes are gone."""
        self._db.change(update(files).where(files.c.id == file_id).values(purged=True))


def _visible(now: float) -> ColumnElement[bool]:
    return and_(files.c.deleted_at.is_(None), or_(files.c.expires_at.is_(None), files.c.expires_at > now))

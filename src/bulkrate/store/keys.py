"""Records of API keys. What is stored of a key is its digest and a hint; the key itself is never here."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import exists, func, insert, or_, select, update

from bulkrate.store.database import Database
from bulkrate.store.records import KeyRecord
from bulkrate.store.schema import keys

_ACTIVE = keys.c.revoked_at.is_(None)
# Every hint begins with the same twelve characters. With less than four of its own, a half-pasted key would
# mean whichever key happens to be the only one.
_HINT_CHARS_MIN = 16


class KeyStore:
    """Keys, each of one project, good until they are revoked. Revoked ones stay for the record."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, key: KeyRecord) -> KeyRecord:
        """Record a key; it is good from now on."""
        with self._db.write() as connection:
            connection.execute(insert(keys).values(**key.values()))
            return KeyRecord.of(connection.execute(select(keys).where(keys.c.id == key.id)).mappings().one())

    def all(self) -> list[KeyRecord]:
        """Every key that ever was, oldest first."""
        return self._db.all(KeyRecord, select(keys).order_by(keys.c.seq))

    def matching(self, which: str) -> list[KeyRecord]:
        """The active keys that `which` may mean, oldest first.

        That is the key of this id, else those of this name or whose hint begins so.
        """
        meant = [keys.c.id == which]
        if which:
            meant.append(keys.c.name == which)
        if len(which) >= _HINT_CHARS_MIN:
            meant.append(func.substr(keys.c.hint, 1, len(which)) == which)
        query = select(keys).where(_ACTIVE, or_(*meant)).order_by(keys.c.seq)
        with self._db.read() as connection:
            found = [KeyRecord.of(row) for row in connection.execute(query).mappings()]
        return [key for key in found if key.id == which] or found

    def revoke(self, which: str, *, now: int) -> KeyRecord | None:
        """End the one active key that `which` means; None when there is none, or more than one."""
        found = self.matching(which)
        if len(found) != 1:
            return None
        query = update(keys).where(keys.c.id == found[0].id, _ACTIVE).values(revoked_at=now)
        with self._db.write() as connection:
            if connection.execute(query).rowcount != 1:
                return None
        return replace(found[0], revoked_at=now)

    def project_of(self, digest: str) -> str | None:
        """The project of the active key with this digest."""
        query = select(keys.c.project).where(keys.c.digest == digest, _ACTIVE)
        project: str | None = self._db.value(query)
        return project

    def any_active(self) -> bool:
        """Whether there is a key that is not revoked."""
        return bool(self._db.value(select(exists().where(_ACTIVE))))

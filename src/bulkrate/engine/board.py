"""What each process tells the one that serves HTTP: why it stands still, and its numbers.

Neither on the disk nor in the records: a full disk or records that fail are what there is to tell of. Whoever
reads never sees half of what was written, and never waits for a writer.
"""

from __future__ import annotations

import os
import struct
import tempfile
import zlib
from collections.abc import Sequence

import msgspec

from bulkrate.core.stats import ProcessSnapshot

_TROUBLE_BYTES = 1_024
_NO_TROUBLE = bytes(_TROUBLE_BYTES)
# A snapshot has some 700 bytes for each upstream; a page of memory that nobody writes to costs nothing.
_SNAPSHOT_BYTES_MAX = 8 << 20
_SLOT_BYTES = _TROUBLE_BYTES + 2 * _SNAPSHOT_BYTES_MAX
# Number of the snapshot, its length, and the checksum of both and of its bytes.
_HEAD = struct.Struct("<QII")
_NUMBER = struct.Struct("<QI")
# The writer would have to write twice while we read once, again and again.
_LOOKS_MAX = 10

_snapshot = msgspec.json.Decoder(ProcessSnapshot)


class Board:
    """A slot of shared memory per role: its trouble in words, and its two latest snapshots.

    A snapshot goes into the place of the older of the two, so that the newer one can always be read; its
    checksum tells whether it is whole.
    """

    def __init__(self, fd: int, roles: Sequence[str]) -> None:
        self.fd = fd
        self.roles = tuple(roles)

    @classmethod
    def new(cls, roles: Sequence[str]) -> Board:
        """An empty board."""
        return cls(_shared_memory(len(roles) * _SLOT_BYTES), roles)

    def say(self, role: str, reason: str | None) -> None:
        """Say why a role stands still, or that it moves again (`reason` None)."""
        text = (reason or "").encode()[:_TROUBLE_BYTES]
        os.pwrite(self.fd, text + _NO_TROUBLE[len(text) :], self._slot(role))

    def read(self) -> dict[str, str]:
        """Why which role stands still."""
        slots = {
            role: os.pread(self.fd, _TROUBLE_BYTES, self._slot(role)).rstrip(b"\0") for role in self.roles
        }
        return {role: slot.decode("utf-8", "ignore") for role, slot in slots.items() if slot}

    def show(self, role: str, snapshot: ProcessSnapshot) -> None:
        """Put a role's numbers on the board. Only the process that has the role may.

        Beyond 8 MiB, some ten thousand upstreams, they are left as they were.
        """
        content = msgspec.json.encode(snapshot)
        if len(content) > _SNAPSHOT_BYTES_MAX - _HEAD.size:
            return
        number = max(self._numbers(role)) + 1
        head = _HEAD.pack(number, len(content), _checksum(number, content))
        os.pwrite(self.fd, head + content, self._place(role, number))

    def shown(self, role: str) -> ProcessSnapshot | None:
        """The latest numbers of a role, of whichever process had it; None when there are none."""
        for _ in range(_LOOKS_MAX):
            numbers = sorted(self._numbers(role), reverse=True)
            if numbers[0] == 0:
                return None
            for number in filter(None, numbers):
                content = self._content(role, number)
                if content is not None:
                    return _snapshot.decode(content)
        return None

    def _content(self, role: str, number: int) -> bytes | None:
        """The bytes of a snapshot; None when they are not, or no longer, whole."""
        place = self._place(role, number)
        found, length, checksum = _HEAD.unpack(os.pread(self.fd, _HEAD.size, place))
        if found != number or length > _SNAPSHOT_BYTES_MAX - _HEAD.size:
            return None
        content = os.pread(self.fd, length, place + _HEAD.size)
        return content if _checksum(number, content) == checksum else None

    def _numbers(self, role: str) -> list[int]:
        """Which snapshots stand in the two places."""
        heads = [os.pread(self.fd, _HEAD.size, self._place(role, place)) for place in (0, 1)]
        return [_HEAD.unpack(head)[0] for head in heads]

    def _place(self, role: str, number: int) -> int:
        return self._slot(role) + _TROUBLE_BYTES + number % 2 * _SNAPSHOT_BYTES_MAX

    def _slot(self, role: str) -> int:
        return self.roles.index(role) * _SLOT_BYTES


def _checksum(number: int, content: bytes) -> int:
    return zlib.crc32(content, zlib.crc32(_NUMBER.pack(number, len(content))))


def _shared_memory(size: int) -> int:
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("bulkrate-board")
    else:
        with tempfile.TemporaryFile() as file:  # no name, and never synced
            fd = os.dup(file.fileno())
    os.ftruncate(fd, size)
    return fd

"""Why a process stands still, told to the one that serves HTTP.

Neither on the disk nor in the records: a full disk or records that fail are what there is to tell of.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence

_SLOT_BYTES = 1_024
_EMPTY = bytes(_SLOT_BYTES)


class Board:
    """A slot of shared memory per role."""

    def __init__(self, fd: int, roles: Sequence[str]) -> None:
        self.fd = fd
        self._roles = tuple(roles)

    @classmethod
    def new(cls, roles: Sequence[str]) -> Board:
        """An empty board."""
        board = cls(_shared_memory(), roles)
        for role in board._roles:
            board.say(role, None)
        return board

    def say(self, role: str, reason: str | None) -> None:
        """Say why a role stands still, or that it moves again (`reason` None)."""
        text = (reason or "").encode()[:_SLOT_BYTES]
        os.pwrite(self.fd, text + _EMPTY[len(text) :], self._roles.index(role) * _SLOT_BYTES)

    def read(self) -> dict[str, str]:
        """Why which role stands still."""
        slots = {
            role: os.pread(self.fd, _SLOT_BYTES, place * _SLOT_BYTES).rstrip(b"\0")
            for place, role in enumerate(self._roles)
        }
        return {role: slot.decode("utf-8", "ignore") for role, slot in slots.items() if slot}


def _shared_memory() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("bulkrate-board")
    with tempfile.TemporaryFile() as file:  # written once, it needs no more room
        return os.dup(file.fileno())

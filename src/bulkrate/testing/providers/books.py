"""What a double was asked to do and what it would bill."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec


class Books(msgspec.Struct):
    """Shown by `GET /double/books`."""

    #: Calls by what they were for: create, look, list, results, cancel, upload and others.
    calls: Counter[str] = msgspec.field(default_factory=Counter)
    #: Jobs, in the order of their creation: id, lines, and what they carry of ours.
    created: list[dict[str, Any]] = []
    cancelled: list[str] = []
    removed: list[str] = []
    uploaded: list[str] = []
    #: Files that are there now.
    files: list[str] = []
    #: How often each line ran and is billed: by its custom id, and by what its last message says. The latter
    #: shows what was bought twice under two ids.
    executed: Counter[str] = msgspec.field(default_factory=Counter)
    texts: Counter[str] = msgspec.field(default_factory=Counter)

    def bill(self, custom_id: str, text: str) -> None:
        """A line has run."""
        self.executed[custom_id] += 1
        self.texts[text] += 1

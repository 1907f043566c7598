"""The seam to whoever has lines to send."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from bulkrate.core.company import Fall
from bulkrate.core.outcome import Outcome
from bulkrate.core.refusals import Refusals


class Work:
    """One line under way. `line`, `part` and `custom_id` mean something to its load alone."""

    __slots__ = (
        "attempts",
        "custom_id",
        "falls",
        "heard",
        "hedge",
        "line",
        "part",
        "refusals",
        "reserved",
        "second",
        "sent_at",
        "stale",
        "task",
        "tries",
        "upstream",
    )

    def __init__(self, line: Any, part: Any = None) -> None:
        self.line = line
        self.part = part
        self.custom_id = b""
        #: How often it was sent, and how many of those count against it.
        self.tries = 0
        self.attempts = 0
        #: How often it ran into a connection that had been closed before.
        self.stale = 0
        #: How often it was refused for want of capacity; None while it never was.
        self.refusals: Refusals | None = None
        #: While it is in flight: since when (the event loop's time), in whose hands, and with how many tokens
        #: of a quota set aside for it.
        self.sent_at = 0.0
        self.task: asyncio.Task[None] | None = None
        self.reserved = 0
        #: The attempts at it that ended as when an upstream dies, and whether it was heard alone for that.
        self.falls: tuple[Fall, ...] = ()
        self.heard = False
        self.upstream = ""
        #: The attempt at a second upstream, and what that answered first.
        self.second: asyncio.Task[None] | None = None
        self.hedge: Outcome | None = None


class Load(Protocol):
    """Lines for one model of one batch."""

    batch_id: str
    model: str
    endpoint: str
    #: Whether more lines may come in a moment.
    more: bool

    def take(self) -> Work | None:
        """The next line that has not been sent, or None when there is none.

        Cheap: the body is asked for separately.
        """

    def body(self, work: Work) -> bytes:
        """The request body of a line."""

    def settle(self, work: Work, outcome: Outcome) -> None:
        """The last word on a line. A `Failed` outcome means that it is given up."""

    def emptied(self) -> None:
        """Nothing is left to take, in flight or waiting to be tried again."""

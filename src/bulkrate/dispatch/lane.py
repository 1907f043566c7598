"""A load on its way: what is in flight, what waits to be tried again, what is left."""

from __future__ import annotations

from collections import deque

from bulkrate.core.outcome import Outcome
from bulkrate.dispatch.base import Load, Work

# Lines that failed for now wait in memory (some 100 bytes each). With so many of them, finish those before
# taking new ones.
_RETRIES_MAX = 10_000


class Lane:
    """One load, as the dispatcher sees it."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.in_flight = 0
        self.closed = False
        self.abandoned = False
        #: The lines in flight.
        self.flying: set[Work] = set()
        #: How many were taken so far, and how many of them are sent to a second upstream.
        self.taken = 0
        self.hedged = 0
        self._again: deque[Work] = deque()
        self._waiting = 0
        self._reason = ""
        self._drained = False
        self._ahead: Work | None = None

    @property
    def ready(self) -> bool:
        """Whether a line can be taken now."""
        if self.closed:
            return False
        return bool(self._again) or self._look_ahead() is not None

    @property
    def empty(self) -> bool:
        """Whether nothing is left in any form."""
        if self.in_flight or self._waiting:
            return False
        return self.closed or not (self._again or self._look_ahead() is not None)

    @property
    def retries(self) -> bool:
        """Whether a line can be taken that was sent before."""
        return bool(self._again)

    @property
    def expects(self) -> bool:
        """Whether it may have lines again in a moment."""
        return self.load.more and not self.closed

    @property
    def spent(self) -> bool:
        """Whether all that is left is in flight: the end of the load hangs by that."""
        return not (self._waiting or self._again) and self._look_ahead() is None

    def take(self, *, retries_first: bool = True) -> Work:
        """The next line; only when `ready`. A retry, or if there is one a fresh line before it."""
        self.in_flight += 1
        self.taken += 1
        if self._again and (retries_first or self._look_ahead() is None):
            return self._again.popleft()
        work, self._ahead = self._look_ahead(), None
        assert work is not None  # noqa: S101  # `ready` was asked
        return work

    def settle(self, work: Work, outcome: Outcome) -> None:
        """A line in flight has its last word."""
        self.in_flight -= 1
        self.load.settle(work, outcome)

    def put_back(self, work: Work) -> None:
        """A line in flight shall be sent again as soon as an upstream takes it."""
        self.in_flight -= 1
        self._again.append(work)

    @property
    def waits_for(self) -> str | None:
        """Why lines wait to be tried again, if any do: the latest reason, in words."""
        return f"{self._waiting} wait to be tried again: {self._reason}" if self._waiting else None

    def wait(self, reason: str) -> None:
        """A line in flight shall be sent again later; `put_by` follows."""
        self.in_flight -= 1
        self._waiting += 1
        self._reason = reason

    def suspect(self, reason: str) -> None:
        """A line that was not in flight here waits to be tested; `recall`, `forget` or `put_by` follows."""
        self._waiting += 1
        self._reason = reason

    def recall(self) -> None:
        """A line that waits is in flight again."""
        self._waiting -= 1
        self.in_flight += 1

    def forget(self) -> None:
        """A line that waits is wanted no more."""
        self._waiting -= 1

    def put_by(self, work: Work) -> None:
        """A line has waited long enough."""
        self._waiting -= 1
        self._again.append(work)

    def refill(self) -> None:
        """The load has lines again."""
        self._drained = False

    def close(self) -> None:
        """Send nothing more. Lines in flight may still land; the others never ran."""
        self.closed = True
        self._again.clear()

    def abandon(self) -> None:
        """Break off what is in flight: nobody wants it any more, and an upstream has better things to do."""
        self.close()
        self.abandoned = True
        for work in self.flying:
            if work.task is not None:
                work.task.cancel()

    def _look_ahead(self) -> Work | None:
        if self._ahead is None and not self._drained and self._waiting < _RETRIES_MAX:
            self._ahead = self.load.take()
            self._drained = self._ahead is None
        return self._ahead

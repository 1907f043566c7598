"""How long a job waits for upstreams of its own engine that take nothing, before whoever gave it is told.

An outage in the middle of a job is waited for, since it passes. What nobody will mend without being told is
not: a key that is refused, and an address at which nobody ever answered.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from bulkrate.errors import ServerUnreachable, Unauthorized
from bulkrate.toolkit.jobs.record import JobRecord, doing

# A key that was made just now may be unknown for some seconds.
_KEY_S = 10.0
# An inference server that was started with the job may still be loading its model.
_AWAY_S = 60.0


class Moving(msgspec.Struct):
    """How the batches of a round move. `stands` says that none of them can, `key_refused` that it is for our
    key.
    """

    in_flight: int = 0
    lines_per_second: float = 0.0
    paused: str | None = None
    done: int = 0
    stands: bool = True
    key_refused: bool = True


class Patience:
    """That with one job."""

    def __init__(self, record: JobRecord, clock: Callable[[], float] = time.monotonic) -> None:
        self._record = record
        self._clock = clock
        self._since: float | None = None

    def look(self, moving: Moving) -> None:
        """Raises `Unauthorized` or `ServerUnreachable` once it is over."""
        if not moving.stands:
            self._since = None
            return
        now = self._clock()
        if self._since is None:
            self._since = now
        stood_s = now - self._since
        go_on = f"nothing is lost. Mend it, and go on with: {doing('resume', self._record.id)}"
        if moving.key_refused and stood_s >= _KEY_S:
            raise Unauthorized(f"{moving.paused}; {go_on}")
        if not self._record.tokens and stood_s >= _AWAY_S:
            raise ServerUnreachable(f"{moving.paused}, for {stood_s:.0f} s now; {go_on}")

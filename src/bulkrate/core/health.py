"""Is an upstream fit to be sent to, and if not, when to look again.

An upstream that cannot be reached, or refuses our key, is paused at its first failure; one that only fails is paused after several failures
without a success between them. A paused upstream is given one attempt at a time, at growing intervals, until one succeeds.
"""

from __future__ import annotations

from dataclasses import dataclass

from bulkrate.core.outcome import Failed

# So many failures in a row without one success are no longer bad luck of single lines.
_FAILURES_MAX = 8
_PAUSE_S_MIN = 0.5
_PAUSE_S_MAX = 15.0


@dataclass(slots=True)
class Health:
    """The state of one upstream. Times are seconds of any clock that only goes forward."""

    #: Why it is paused, in words; None while it is not.
    paused: str | None = None
    _until: float = 0.0
    _failures: int = 0
    _pauses: int = 0

    def allows(self, in_flight: int, *, now: float) -> bool:
        """Whether one more attempt may be sent."""
        if now < self._until:
            return False
        return self.paused is None or in_flight == 0

    def wait_s(self, *, now: float) -> float:
        """Seconds until an attempt may be sent again, as far as time alone decides."""
        return max(0.0, self._until - now)

    def succeeded(self) -> None:
        """The upstream answered a line, be it with a refusal of that line."""
        self.paused = None
        self._failures = 0
        self._pauses = 0

    def failed(self, failed: Failed, *, now: float, jitter: float) -> None:
        """An attempt failed for now. `jitter` is in [0, 1)."""
        self._failures += 1
        if failed.retry_after_s is not None and self.paused is None:
            self._until = max(self._until, now + failed.retry_after_s)
        if failed.failure.upstream_is_out or (
            failed.failure.costs_attempt and self._failures >= _FAILURES_MAX
        ):
            self._pause(failed.detail, now, jitter)

    def _pause(self, reason: str, now: float, jitter: float) -> None:
        if now < self._until and self.paused is not None:
            return  # an echo of the same outage: those in flight when it began
        wait = min(_PAUSE_S_MIN * 2**self._pauses, _PAUSE_S_MAX)
        self.paused = reason
        self._pauses = min(self._pauses + 1, 10)
        self._until = now + wait * (0.75 + jitter / 4)

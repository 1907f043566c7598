"""How much time may be spent on what proves to be in vain: some at first, later a share of all time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Vain:
    """A leaky bucket of time spent in vain. Times are seconds of any clock that only goes forward."""

    #: So much may be spent before there is a break.
    limit_s: float
    #: This share of the time is forgiven.
    share: float
    _spent_s: float = 0.0
    _at: float = 0.0

    def allows(self, *, now: float) -> bool:
        """Whether it may be tried again."""
        return self._left_over(now) < self.limit_s

    def spent(self, seconds: float, *, now: float) -> None:
        """It was tried for so long until now, and in vain. A break takes no longer than `limit_s / share`."""
        self._spent_s = min(self._left_over(now) + seconds, 2 * self.limit_s)
        self._at = now

    def paid_off(self) -> None:
        """It was not in vain this time, so it may not be the next time."""
        self._spent_s = 0.0

    def _left_over(self, now: float) -> float:
        return max(0.0, self._spent_s - (now - self._at) * self.share)

"""How many attempts may be in flight at one upstream.

The configured maximum, cut when the upstream says that it is busy and grown back while it is not: one cut per
episode, since all answers to one overload say the same thing.
"""

from __future__ import annotations

_CUT = 0.75
# Refusals within this time after a cut were sent before it.
_EPISODE_S = 1.0


class Window:
    """A limit between 1 and `maximum`."""

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self._limit = float(maximum)
        self._cut_at = float("-inf")

    @property
    def limit(self) -> int:
        """How many may be in flight now."""
        return max(1, int(self._limit))

    def busy(self, in_flight: int, *, now: float) -> None:
        """The upstream refused work while `in_flight` attempts were running."""
        if now - self._cut_at < _EPISODE_S:
            return
        self._cut_at = now
        self._limit = max(1.0, min(self._limit, in_flight) * _CUT)

    def answered(self) -> None:
        """An attempt was answered: room for one more, after as many answers as the window is wide."""
        if self._limit < self.maximum:
            self._limit = min(self._limit + 1 / self._limit, float(self.maximum))

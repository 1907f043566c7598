"""What follows when an upstream says that it has enough: one cut, and a slow way back.

All refusals of one overload say the same thing, so they cut once. The width that was refused is remembered
for a while: below it the window grows quickly, near it by little steps, so that an upstream with a fixed
ceiling is rarely asked for more.
"""

from __future__ import annotations

from bulkrate.core.window.rate import Block

_CUT = 0.75
# Refusals within this time after a cut were sent before it; so were those that come while what is too much
# drains, at most for the second time.
_EPISODE_S = 1.0
_DRAIN_S_MAX = 30.0
# An upstream that refuses everything says nothing about widths: until it has answered so many again it is not
# cut for a second time, but for once in a while.
_ANSWERS_MIN = 4
_OUTAGE_S = 10.0
# So long after the last refusal it is over.
_MEMORY_S = 60.0
_QUICK = 1.1
_SLOW = 0.01
_NEAR = 0.9
_STEP_S_MIN = 1.0


class Refusals:
    """The refusals of one upstream."""

    def __init__(self) -> None:
        self._cut_at = float("-inf")
        self._refused_at = float("-inf")
        self._ceiling = float("inf")
        self._answers = 0
        self._seconds = 0.0
        #: Answers since the last cut, and how boldly the width that was refused is tried again.
        self._accepted = 0
        self._careful = 0.0

    def recent(self, *, now: float) -> bool:
        """Whether the upstream refused something within the last minute."""
        return now - self._refused_at < _MEMORY_S

    def refused(self, limit: int, in_flight: int, *, answers: int, now: float) -> float | None:
        """An attempt was refused while `in_flight` were under way; the new width, None if it was cut already.

        `answers` are those of the block that is being counted.
        """
        self._refused_at = now
        self._answers = 0
        self._seconds = 0.0
        since = now - self._cut_at
        if since < _EPISODE_S or (in_flight > limit and since < _DRAIN_S_MAX):
            return None
        if self._accepted + answers < _ANSWERS_MIN and since < _OUTAGE_S:
            return None
        self._cut_at = now
        self._accepted = 0
        self._careful = 0.0
        self._ceiling = float(min(limit, in_flight))
        return float(max(1, int(self._ceiling * _CUT)))

    def grown(self, limit: int, block: Block, *, now: float) -> float:
        """The width after another block of answers came without a refusal."""
        self._accepted += block.answers
        self._answers += block.answers
        self._seconds += block.seconds
        if self._answers < limit or self._seconds < _STEP_S_MIN:
            return float(limit)
        self._answers = 0
        self._seconds = 0.0
        factor = _QUICK
        if self.recent(now=now) and limit >= _NEAR * self._ceiling:
            self._careful = min(self._careful + _SLOW, _QUICK - 1)
            factor = 1 + self._careful
        return max(limit + 1.0, limit * factor)

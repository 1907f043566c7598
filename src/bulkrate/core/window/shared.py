"""The window at an upstream that others use as well: what they leave of a total.

A flood hurts others long before it hurts the upstream, so this errs low: it gives way at once and comes back
slowly, and while nobody knows what the others do it takes little.
"""

from __future__ import annotations

from bulkrate.providers.engines import EngineLoad

_COME_BACK = 0.05
_UNKNOWN_SHARE = 4


class Shared:
    """`target` is how many requests the upstream is to run at once, ours and others'."""

    def __init__(self, target: int, *, width_max: int) -> None:
        self._target = target
        self._max = width_max
        #: What is ours while the others are unknown.
        self.width_unknown = max(1, min(width_max, target // _UNKNOWN_SHARE))

    def room(self, width: int, load: EngineLoad, *, in_flight: int) -> int:
        """What is ours, when the upstream told its load while `in_flight` of ours were under way."""
        others = max(0, load.running + load.waiting - in_flight)
        room = max(1, min(self._max, self._target - others))
        return min(room, width + max(1, round(self._target * _COME_BACK)))

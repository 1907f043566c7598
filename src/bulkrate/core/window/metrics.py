"""Finding the window of an engine that tells how many requests it runs, how many wait, and how full its cache
is.

Grow while nobody waits and the cache has room; keep a short queue, so that no place is ever empty; give way
when the engine preempts. The cache fills slowly, as answers grow: only when a whole round of answers has come
at one width does it tell what that width needs.
"""

from __future__ import annotations

from bulkrate.providers.engines import EngineLoad

_USED_MIN = 0.8
# The queue that is held, as shares of what runs: below the first there is room, beyond the last there is too
# much.
_WAITING_LOW = 0.01
_WAITING_HELD = 0.05
_WAITING_HIGH = 0.08
# The cache: up to the first number growing needs no round of answers, since answers would have to grow
# sixfold to fill it; growing aims at the second and ends at the third; beyond the last it is cut.
_KV_UNSETTLED = 0.15
_KV_WANTED = 0.88
_KV_FULL = 0.85
_KV_CUT = 0.95
_DOUBLE = 2.0
_GROW = 1.05
_GROW_A_ROUND = 1.25
_CUT = 0.93
# Of a round, so much must pass before a cut is judged.
_CUT_ROUND = 0.25


class Metrics:
    """The search for one engine's window. `width` may be set when something else has found it."""

    def __init__(self, width: float, *, width_max: float) -> None:
        self.width = width
        #: Whether a limit of the engine was met.
        self.proven = False
        #: False while the upstream refuses work, whatever its metrics say.
        self.may_grow = True
        self._max = width_max
        self._preemptions: int | None = None
        #: Answers that have come since the width was changed.
        self._answers = 0

    def answered(self, answers: int) -> None:
        """So many more answers came."""
        self._answers += answers

    def forget(self) -> None:
        """The engine was not heard of for a while."""
        self._preemptions = None

    def add(self, load: EngineLoad, *, in_flight: int) -> None:
        """The engine told its load while `in_flight` attempts of ours were under way."""
        before, self._preemptions = self._preemptions, load.preemptions
        preempted = before is not None and load.preemptions is not None and load.preemptions > before
        kv = load.kv_usage or 0.0
        fits = load.running / max(1, load.running + load.waiting)
        if preempted or kv > _KV_CUT:
            self.proven = True
            # The last cut shows when those that were too many have left.
            if in_flight <= self.width + 1 and self._answers >= _CUT_ROUND * self.width:
                self._change(in_flight * min(_CUT, fits))
        elif load.waiting > max(3.0, _WAITING_HIGH * load.running):
            self.proven = True
            held = max(2.0, _WAITING_HELD * load.running)
            # As a share: one of several replicas may have told of itself alone, and some that run may be
            # others'.
            self.width = min(
                self.width, max(1.0, in_flight * fits * (load.running + held) / max(1, load.running))
            )
        elif load.waiting <= max(1.0, _WAITING_LOW * load.running):
            if self.may_grow and in_flight >= _USED_MIN * self.width:
                self._grow(kv)
        else:
            self.proven = True

    def _grow(self, kv: float) -> None:
        factor = _GROW if self.proven else _DOUBLE
        if kv * factor < _KV_UNSETTLED:
            self._change(self.width * factor)
        elif kv < _KV_FULL and self._answers >= self.width:
            factor = _GROW_A_ROUND if self.proven else _DOUBLE
            self._change(self.width * min(factor, _KV_WANTED / kv))

    def _change(self, width: float) -> None:
        at_least = self.width + 1 if width > self.width else 1.0
        self.width = min(self._max, max(at_least, width))
        self._answers = 0

"""The quotas that one upstream has told of, by model, and the lanes that wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bulkrate.core.quota import Quota
from bulkrate.dispatch.lane import Lane
from bulkrate.providers.ratelimits import RateLimits

# Taken for the tokens of a line before the first answer says better, and how much of the latest answer goes
# into the running mean.
_TOKENS_FIRST = 1_000.0
_TOKENS_WEIGHT = 0.05


class Quotas:
    """Sets tokens aside for lines, and holds lanes back until there are some. `on_room` takes lanes back."""

    def __init__(self, on_room: Callable[[list[Lane]], None]) -> None:
        self._on_room = on_room
        self._quotas: dict[str, Quota] = {}
        self._tokens: dict[str, float] = {}
        self._held: dict[str, set[Lane]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._loop = asyncio.get_running_loop()

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._quotas)

    def binds(self, model: str) -> bool:
        """Whether there is one for this model."""
        return model in self._quotas

    def reserve(self, lane: Lane, *, now: float) -> int | None:
        """Tokens set aside for a line of this lane; None if it must wait. Then the lane is held here."""
        model = lane.load.model
        quota = self._quotas.get(model)
        if quota is None:
            return 0
        tokens = int(self._tokens.get(model, _TOKENS_FIRST))
        wait_s = quota.wait_s(tokens, now=now)
        if wait_s <= 0:
            quota.reserve(tokens, now=now)
            return tokens
        self._held.setdefault(model, set()).add(lane)
        if model not in self._timers:
            self._timers[model] = self._loop.call_later(wait_s, self._let_go, model)
        return None

    def heard(self, model: str, limits: RateLimits, *, now: float) -> None:
        """An answer told of quotas."""
        quota = self._quotas.get(model)
        if quota is None:
            quota = self._quotas[model] = Quota()
        quota.heard(limits, now=now)

    def refused(self, model: str, retry_after_s: float | None, *, now: float) -> bool:
        """A line was refused as one too many; whether a quota explains that, so that nothing else need."""
        quota = self._quotas.get(model)
        if quota is None:
            return False
        quota.refused(retry_after_s, now=now)
        return True

    def settle(self, model: str, reserved: int, used: int, *, now: float) -> None:
        """A line for which `reserved` tokens were set aside took `used`."""
        if used:
            mean = self._tokens.get(model, float(used))
            self._tokens[model] = mean + (used - mean) * _TOKENS_WEIGHT
        if quota := self._quotas.get(model):
            quota.settle(reserved, used, now=now)

    def stop(self) -> None:
        """Hold nobody any more."""
        for timer in self._timers.values():
            timer.cancel()

    def _let_go(self, model: str) -> None:
        del self._timers[model]
        self._on_room(list(self._held.pop(model, ())))

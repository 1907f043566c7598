"""Stands in until the window controller and the quotas are here; then this file goes."""

from typing import Any
from enum import Enum


class Mode(Enum):
    FIXED = "as configured"


class Window:
    def __init__(
        self, *, maximum: int | None, start: int | None = None, target_running: int | None = None
    ) -> None:
        self.limit = maximum or 256
        self.mode = Mode.FIXED
        self.known_good: int | None = None
        self._cut_at = -1e9
        self.maximum = self.limit

    def answered(self, **_: Any) -> None:
        if self.limit < self.maximum:
            self.limit += 1

    def busy(self, *, in_flight: int, now: float) -> None:
        if now - self._cut_at >= 1:
            self._cut_at = now
            self.limit = max(1, int(in_flight * 0.75))

    def scraped(self, *_: Any, **__: Any) -> None: ...
    def quota(self) -> None: ...
    def interrupted(self, *, now: float) -> None: ...


class Quota:
    def heard(self, limits: Any, *, now: float) -> None: ...
    def refused(self, retry_after_s: float | None, *, now: float) -> None: ...
    def wait_s(self, tokens: int, *, now: float) -> float:
        return 0.0

    def reserve(self, tokens: int, *, now: float) -> None: ...
    def settle(self, reserved: int, used: int, *, now: float) -> None: ...

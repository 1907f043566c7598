"""The controllers: the product's own window, and what it is measured against."""

from __future__ import annotations

import math
from typing import NamedTuple

from bulkrate.core.window import Window
from bulkrate.providers.engines import EngineLoad


class Answered(NamedTuple):
    """What a controller is told of an answer."""

    in_flight: int
    tokens: float
    latency_s: float
    now: float


class Fixed:
    """A number that somebody set. The others are like it, and change their number."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def answered(self, answer: Answered) -> None:
        """An attempt was answered."""

    def busy(self, in_flight: int, now: float) -> None:
        """An attempt was refused."""

    def scraped(self, load: EngineLoad | None, in_flight: int, now: float) -> None:
        """The engine told its load, or did not."""


class Ours(Fixed):
    """The product's own window, with or without the engine's metrics."""

    def __init__(self, window: Window, *, metrics: bool) -> None:
        super().__init__(window.limit)
        self.window = window
        self._metrics = metrics

    def answered(self, answer: Answered) -> None:
        in_flight, tokens, latency_s, now = answer
        self.window.answered(in_flight=in_flight, tokens=tokens, latency_s=latency_s, first=True, now=now)
        self.limit = self.window.limit

    def busy(self, in_flight: int, now: float) -> None:
        self.window.busy(in_flight=in_flight, now=now)
        self.limit = self.window.limit

    def scraped(self, load: EngineLoad | None, in_flight: int, now: float) -> None:
        if self._metrics:
            self.window.scraped(load, in_flight=in_flight, now=now)
            self.limit = self.window.limit


class Aimd(Fixed):
    """Doubles once a round until the first refusal, between 10 and 100. The engines here never refuse."""

    def __init__(self) -> None:
        super().__init__(20)
        self._round = 0

    def answered(self, answer: Answered) -> None:
        self._round += 1
        if self._round >= self.limit:
            self._round = 0
            if answer.in_flight >= 0.8 * self.limit:
                self.limit = min(100, self.limit * 2)


class Vegas(Fixed):
    """Takes latency above the least that it has seen for queueing."""

    def __init__(self) -> None:
        super().__init__(20)
        self._least = math.inf
        self._exact = 20.0

    def answered(self, answer: Answered) -> None:
        self._least = min(self._least, answer.latency_s)
        if answer.in_flight * 2 < self.limit:
            return
        scale = max(1.0, math.log10(self._exact))
        queued = math.ceil(self._exact * (1 - self._least / answer.latency_s))
        if queued <= scale:
            self._exact += 6 * scale
        elif queued < 3 * scale:
            self._exact += scale
        elif queued > 6 * scale:
            self._exact -= scale
        self._exact = min(1000.0, max(1.0, self._exact))
        self.limit = int(self._exact)


class Gradient2(Fixed):
    """Compares latency with its long average, with a tolerance of a half and a queue of four."""

    def __init__(self) -> None:
        super().__init__(20)
        self._exact = 20.0
        self._long = 0.0
        self._seen = 0

    def answered(self, answer: Answered) -> None:
        self._seen += 1
        self._long += (answer.latency_s - self._long) * max(1 / self._seen, 2 / 601)
        if self._long / answer.latency_s > 2:
            self._long *= 0.95
        if answer.in_flight < self._exact / 2:
            return
        gradient = max(0.5, min(1.0, 1.5 * self._long / answer.latency_s))
        wanted = self._exact * gradient + 4
        self._exact = min(2000.0, max(20.0, self._exact * 0.8 + wanted * 0.2))
        self.limit = int(self._exact)

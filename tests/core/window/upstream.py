"""A server that works on so many requests at once and lets the rest wait, driven by a window."""

from __future__ import annotations

import heapq
from collections import deque
from random import Random

from bulkrate.core.window import Window


class Upstream:
    """Keeps `window` full against a server of `capacity`; time passes only here."""

    def __init__(self, window: Window, *, capacity: int, service_s: float, spread: float = 0.5) -> None:
        self.window = window
        self.capacity = capacity
        self.now = 100.0
        self.in_flight = 0
        self.answers = 0
        self.widest = 0
        self.demand = 10**9
        self._service_s = service_s
        self._spread = spread
        self._random = Random(7)
        self._sent = 0
        self._running: list[tuple[float, int, float, float]] = []
        self._waiting: deque[tuple[float, float]] = deque()

    def run(self, answers: int) -> None:
        """Until so many more answers have come."""
        until = self.answers + answers
        while self.answers < until:
            self._send()
            self.now, _, sent_at, service_s = heapq.heappop(self._running)
            if self._waiting:
                self._start(*self._waiting.popleft())
            self.window.answered(
                in_flight=self.in_flight,
                tokens=100 * service_s,
                latency_s=self.now - sent_at,
                first=True,
                now=self.now,
            )
            self.in_flight -= 1
            self.answers += 1
            self.widest = max(self.widest, self.window.limit)

    def _send(self) -> None:
        while self.in_flight < min(self.window.limit, self.demand):
            self.in_flight += 1
            service_s = self._service_s * self._random.lognormvariate(0.0, self._spread)
            if len(self._running) < self.capacity:
                self._start(self.now, service_s)
            else:
                self._waiting.append((self.now, service_s))

    def _start(self, sent_at: float, service_s: float) -> None:
        self._sent += 1
        heapq.heappush(self._running, (self.now + service_s, self._sent, sent_at, service_s))

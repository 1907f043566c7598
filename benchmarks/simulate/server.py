"""Servers that are not engines: so many places and a queue, or a hosted API with quotas; and the sender
before them.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from random import Random

from bulkrate.core.quota import Quota
from bulkrate.core.window import Window
from bulkrate.providers.ratelimits import read_limits

# How long a refusal takes, and how long a refused line waits until it is tried again, at least.
_REFUSAL_S = 0.05
_BACKOFF_S = 1.0
# What a sender reserves for a line before it has seen any.
_TOKENS_FIRST = 1000.0
_FIRST_S = 60.0


@dataclass(slots=True)
class Allowance:
    """A quota by the minute. `steady` fills all the time, otherwise it is full again at every full minute."""

    limit: float
    steady: bool = True
    level: float = inf
    at: float = 0.0

    def take(self, amount: float, now: float) -> bool:
        """Whether there was enough."""
        self._bring_to(now)
        if self.level < amount:
            return False
        self.level -= amount
        return True

    def reset_s(self, now: float) -> float:
        """Seconds until it is full."""
        self._bring_to(now)
        return (self.limit - self.level) / self.limit * 60 if self.steady else 60 - now % 60

    def _bring_to(self, now: float) -> None:
        if self.steady:
            self.level = min(self.limit, self.level + (now - self.at) * self.limit / 60)
        elif now // 60 > self.at // 60 or self.level == inf:
            self.level = self.limit
        self.at = now


@dataclass(slots=True, kw_only=True)
class Server:
    """Places, a queue, and reasons to refuse.

    `slow` is how many times longer it takes at a moment; `sick` says when it refuses everything.
    """

    places: int
    service_s: float
    spread: float
    tokens: float = 0.0
    crowd_max: float = inf
    requests: Allowance | None = None
    token_quota: Allowance | None = None
    tells_quota: bool = True
    tells_retry_after: bool = True
    slow: Callable[[float], float] = lambda _: 1.0
    sick: Callable[[float], bool] = lambda _: False

    def refuses(self, crowd: int, tokens: float, now: float) -> bool:
        """Whether one more is too many, `crowd` being under way. What is accepted is taken from the
        quotas.
        """
        if self.sick(now) or crowd >= self.crowd_max:
            return True
        if self.requests is not None and not self.requests.take(1.0, now):
            return True
        return self.token_quota is not None and not self.token_quota.take(tokens, now)

    def retry_after_s(self, now: float) -> float | None:
        """What a refusal says on when to come back."""
        if not self.tells_retry_after:
            return None
        quota = self.requests or self.token_quota
        if quota is None or quota.steady:
            return 1.0
        return quota.reset_s(now)

    def headers(self, now: float) -> dict[str, str]:
        """What an answer tells of the quotas."""
        headers = {}
        for what, quota in (("requests", self.requests), ("tokens", self.token_quota)):
            if quota is not None and self.tells_quota:
                headers[f"x-ratelimit-limit-{what}"] = f"{quota.limit:.0f}"
                headers[f"x-ratelimit-remaining-{what}"] = f"{quota.level:.0f}"
                headers[f"x-ratelimit-reset-{what}"] = f"{quota.reset_s(now):.3f}s"
        return headers


@dataclass(slots=True)
class Served:
    """What came of it."""

    seconds: float = 0.0
    answers: int = 0
    refusals: int = 0
    tokens: float = 0.0
    work_s: float = 0.0
    #: After the first minute, in which a full bucket is a present.
    late_answers: int = 0
    late_tokens: float = 0.0


def serve(
    server: Server,
    window: Window | int,
    *,
    seed: int,
    lines: float = inf,
    seconds: float = inf,
    tells_tokens: bool = True,
) -> Served:
    """Send `lines`, or as many as are answered in `seconds`, through the product's window or a fixed one."""
    return _Sender(server, window, seed, tells_tokens).run(lines, seconds)


class _Sender:
    """Keeps the window full, within the quota that headers tell of."""

    def __init__(self, server: Server, window: Window | int, seed: int, tells_tokens: bool) -> None:
        self._server = server
        self._window = window if isinstance(window, Window) else None
        self._fixed = window if isinstance(window, int) else 0
        self._tells_tokens = tells_tokens
        self._quota = Quota()
        self._random = Random(seed)
        self._now = 0.0
        self._in_flight = 0
        self._crowd = 0  # of those, how many the server has accepted
        self._working = 0  # and how many of these have a place
        self._left = 0.0
        self._hold_until = 0.0
        self._waking = False
        self._expected = _TOKENS_FIRST
        self._queue: deque[Callable[[], None]] = deque()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._served = Served()

    def run(self, lines: float, seconds: float) -> Served:
        self._left = lines
        while self._served.answers < lines:
            self._send()
            when, _, what = heapq.heappop(self._events)
            if when > seconds:
                self._served.seconds = seconds
                break
            self._now = self._served.seconds = when
            what()
        return self._served

    def _at(self, when: float, what: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, what))

    def _send(self) -> None:
        while self._left > 0 and self._in_flight < (self._window.limit if self._window else self._fixed):
            wait_s = self._hold_until - self._now
            if self._quota.known:
                wait_s = max(wait_s, self._quota.wait_s(int(self._expected), now=self._now))
            if wait_s > 0:
                if not self._waking:
                    self._waking = True
                    self._at(self._now + wait_s + 1e-6, self._wake)
                return
            self._left -= 1
            self._in_flight += 1
            self._submit()

    def _wake(self) -> None:
        self._waking = False

    def _submit(self) -> None:
        server, sent_at = self._server, self._now
        service_s = server.service_s * self._random.lognormvariate(-(server.spread**2) / 2, server.spread)
        service_s *= server.slow(sent_at)
        tokens = server.tokens * self._random.lognormvariate(-0.125, 0.5)
        reserved = int(self._expected) if self._quota.known else 0
        if reserved:
            self._quota.reserve(reserved, now=sent_at)
        if server.refuses(self._crowd, tokens, sent_at):
            retry_after_s = server.retry_after_s(sent_at)
            self._at(sent_at + _REFUSAL_S, lambda: self._on_refused(reserved, retry_after_s))
            return
        self._crowd += 1
        headers = server.headers(sent_at)

        def begin() -> None:
            self._at(
                self._now + service_s,
                lambda: self._on_answered(sent_at, service_s, tokens, reserved, headers),
            )

        if self._working < server.places:
            self._working += 1
            begin()
        else:
            self._queue.append(begin)

    def _on_answered(
        self, sent_at: float, service_s: float, tokens: float, reserved: int, headers: dict[str, str]
    ) -> None:
        if self._queue:
            self._queue.popleft()()
        else:
            self._working -= 1
        self._crowd -= 1
        served, now = self._served, self._now
        served.answers += 1
        served.tokens += tokens
        served.work_s += service_s
        if now > _FIRST_S:
            served.late_answers += 1
            served.late_tokens += tokens
        self._expected += (tokens - self._expected) * 0.05
        self._quota.settle(reserved, int(tokens), now=now)
        if headers and (limits := read_limits(headers.get)) is not None:
            self._quota.heard(limits, now=now)
            if self._window:
                self._window.quota()
        if self._window:
            self._window.answered(
                in_flight=self._in_flight,
                tokens=100 * service_s if self._tells_tokens else 1.0,
                latency_s=now - sent_at,
                first=True,
                now=now,
            )
        self._in_flight -= 1

    def _on_refused(self, reserved: int, retry_after_s: float | None) -> None:
        now = self._now
        self._served.refusals += 1
        self._quota.settle(reserved, 0, now=now)
        if self._quota.known:
            self._quota.refused(retry_after_s, now=now)
        elif self._window:
            self._window.busy(in_flight=self._in_flight, now=now)
            self._hold_until = max(self._hold_until, now + (retry_after_s or 0.0))
        self._in_flight -= 1
        self._at(now + _BACKOFF_S * self._random.uniform(1, 2), self._come_back)

    def _come_back(self) -> None:
        self._left += 1

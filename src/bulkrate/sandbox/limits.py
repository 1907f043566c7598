"""What makes the sandbox busy: places to work in, a queue in front of them, a rate limit and latency.

It never looks at what a call asks; a bucket's clock is given to it, so that tests need not wait.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from statistics import NormalDist

from bulkrate.sandbox.asgi import Header
from bulkrate.sandbox.dice import Dice
from bulkrate.sandbox.refusals import RefusalError

_NORMAL = NormalDist()


class Gate:
    """Lets `capacity` calls work at once and `queue` more wait, first come first served."""

    def __init__(self, capacity: int, queue: int | None) -> None:
        self._capacity = capacity
        self._queue = queue
        self._turns: deque[asyncio.Future[None]] = deque()
        self.working = 0

    @property
    def waiting(self) -> int:
        return len(self._turns)

    async def __aenter__(self) -> None:
        if not self._capacity or self.working < self._capacity:
            self.working += 1
            return
        if self._queue is not None and self.waiting >= self._queue:
            raise RefusalError(
                503,
                f"busy: {self.working} calls in work and {self.waiting} waiting; try again later",
                code="server_overloaded",
                headers=((b"retry-after", b"1"),),
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._turns.append(turn)
        # Only a stopping server cancels a waiting call, so a turn lost with it is missed by nobody.
        await turn

    async def __aexit__(self, *_: object) -> None:
        while self._turns:
            turn = self._turns.popleft()
            if not turn.done():
                turn.set_result(None)  # the place is handed on, so `working` stays
                return
        self.working -= 1


class RateLimit:
    """A token bucket that holds one second's worth of calls (one call at least)."""

    def __init__(self, per_second: float, clock: Callable[[], float]) -> None:
        self._rate = per_second
        self._burst = max(1.0, per_second)
        self._clock = clock
        self._tokens = self._burst
        self._at = clock()

    def take(self) -> None:
        if not self._rate:
            return
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            raise self._refusal((1 - self._tokens) / self._rate)
        self._tokens -= 1

    def headers(self) -> tuple[Header, ...]:
        if not self._rate:
            return ()
        full_in = (self._burst - self._tokens) / self._rate
        return (
            (b"x-ratelimit-limit-requests", b"%d" % self._burst),
            (b"x-ratelimit-remaining-requests", b"%d" % self._tokens),
            (b"x-ratelimit-reset-requests", b"%dms" % math.ceil(full_in * 1000)),
        )

    def _refusal(self, wait: float) -> RefusalError:
        milliseconds = math.ceil(wait * 1000)
        return RefusalError(
            429,
            f"rate limit of {self._rate:g} requests per second reached; try again in {milliseconds}ms",
            kind="requests",
            code="rate_limit_exceeded",
            headers=((b"retry-after", b"%d" % math.ceil(wait)), (b"retry-after-ms", b"%d" % milliseconds)),
        )


class Latency:
    """How long an answer takes: log-normal around a mean, drawn from the seed and the request's body."""

    def __init__(self, seed: int, mean_ms: float, spread: float) -> None:
        self._seed = seed
        self._mean = mean_ms / 1000
        self._spread = spread

    def seconds(self, digest: bytes) -> float:
        if not self._mean or not self._spread:
            return self._mean
        share = Dice.of(self._seed, b"latency", digest).share("seconds")
        draw = _NORMAL.inv_cdf(min(max(share, 1e-9), 1 - 1e-9))
        # exp(-sigma^2/2) keeps the mean of the log-normal where it was asked to be.
        return self._mean * math.exp(self._spread * draw - self._spread**2 / 2)

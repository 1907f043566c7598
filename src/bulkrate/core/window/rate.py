"""The goodput at one width of the window, and how sure it is.

By Little's law what comes back in a second is what is in flight, times the tokens of an answer over the time
it took. On an engine the tokens of an answer and its time go together, so a few answers tell what only many
could by counting.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

# So many blocks are remembered: the older ones tell of another hour.
_BLOCKS_MAX = 64
# From so many blocks on, how they differ from one another counts as well: it shows what answers have in
# common.
_BLOCKS_MIN = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Some answers in a row, at one width."""

    #: All answers, and the seconds in which they came.
    answers: int
    seconds: float
    #: Of the answers sent since the width was changed: how many, their tokens, and the seconds they took.
    fresh: int
    tokens: float
    latency_s: float
    #: Sums over the same answers: tokens squared, tokens times seconds, seconds squared.
    tokens_squared: float
    tokens_latency: float
    latency_squared: float
    #: How many were in flight, on average.
    in_flight: float
    #: The mean share of the window that was in use.
    used: float
    #: The share of answers that took more than one attempt.
    retried: float


class Rate:
    """Tokens a second, from blocks."""

    __slots__ = ("_blocks", "answers", "seconds")

    def __init__(self) -> None:
        self._blocks: deque[Block] = deque(maxlen=_BLOCKS_MAX)
        #: How much was ever measured.
        self.answers = 0
        self.seconds = 0.0

    def add(self, block: Block) -> None:
        """Another block at the same width."""
        self._blocks.append(block)
        self.answers += block.fresh
        self.seconds += block.seconds

    def clear(self) -> None:
        """Forget all of it."""
        self._blocks.clear()
        self.answers = 0
        self.seconds = 0.0

    @property
    def value(self) -> float:
        """Tokens a second; 0 before the first fresh answer."""
        work_s = sum(block.latency_s / block.in_flight for block in self._blocks)
        return sum(block.tokens for block in self._blocks) / work_s if work_s > 0 else 0.0

    @property
    def error(self) -> float:
        """The standard error of the value, as a share of it."""
        tokens = latency_s = tokens_squared = tokens_latency = latency_squared = 0.0
        answers = 0
        for block in self._blocks:
            answers += block.fresh
            tokens += block.tokens
            latency_s += block.latency_s
            tokens_squared += block.tokens_squared
            tokens_latency += block.tokens_latency
            latency_squared += block.latency_squared
        if answers < 2 or tokens <= 0 or latency_s <= 0:
            return math.inf
        pace = tokens / latency_s
        squares = max(0.0, tokens_squared - 2 * pace * tokens_latency + pace * pace * latency_squared)
        by_answers = squares / tokens**2 * answers / (answers - 1)
        blocks = len(self._blocks)
        if blocks < _BLOCKS_MIN:
            return math.sqrt(by_answers)
        squares = sum((block.tokens - pace * block.latency_s) ** 2 for block in self._blocks) / tokens**2
        return math.sqrt(max(by_answers, squares * blocks / (blocks - 1)))

    def over(self, base: Rate) -> tuple[float, float]:
        """How many times the value of `base` this is, and the standard error of that."""
        if not base.value:
            return math.inf, math.inf
        gain = self.value / base.value
        return gain, gain * math.hypot(self.error, base.error)

"""Who gets how much: upstreams per worker, and lines per load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

#: The longest stretch of lines that is claimed at once.
LINES_MAX = 10_000
#: How many lines a load gets at first, while nobody knows how fast they go.
LINES_FIRST = 16
# A claimed piece costs about as much as sending a few lines; so many pieces a second are nothing.
_PIECES_PER_S = 64


def upstreams_of(worker: int, *, upstreams: int, workers: int, living: int) -> int:
    """How many upstreams a worker should drive; `worker` counts from 0.

    While all live, the shares add up; when some are dead, the others share what is theirs.
    """
    if living >= workers:
        return upstreams // workers + (worker < upstreams % workers)
    return ceil(upstreams / max(1, living))


@dataclass(frozen=True, slots=True)
class Stock:
    """What a load has and uses: lines at hand, lines sent a second, whether it only waits for its turn."""

    lines: int
    lines_per_s: float
    waiting: bool

    @property
    def ahead(self) -> int:
        """How many lines it should have at hand: a second's worth."""
        return min(max(1, ceil(self.lines_per_s)), LINES_MAX)

    @property
    def low_mark(self) -> int:
        """The most lines with which it runs low: just less than half a second's worth."""
        return (self.ahead - 1) // 2

    @property
    def low(self) -> bool:
        """Whether less than half a second's worth is left."""
        return self.lines <= self.low_mark


def portions(stocks: Sequence[Stock], *, room: int) -> list[int]:
    """How many lines to claim for each load now; `stocks` are in the order in which they were served last.

    `room` is how many more lines the upstreams could take at this moment. A load that runs low gets a
    second's worth, and its part of the room. All that only wait for their turn have about a second's work
    together, in equal pieces: with more loads than that they are served in turns, and no worker sits on lines
    that others could send.
    """
    rate = sum(stock.lines_per_s for stock in stocks)
    free = max(0, room - sum(stock.lines for stock in stocks))
    piece = min(max(1, ceil(rate / min(_PIECES_PER_S, max(1, len(stocks))))), LINES_FIRST)
    low = [place for place, stock in enumerate(stocks) if stock.low]
    waiting = sum(stock.waiting for stock in stocks)
    allowed = max(free, ceil(rate / piece) - waiting, 0 if waiting else 1)
    granted = low[:allowed]
    if not granted:
        return [0] * len(stocks)
    if rate == 0:
        piece = max(1, LINES_FIRST // len(granted))
    share = ceil(free / len(granted))
    claims = [0] * len(stocks)
    for place in granted:
        stock = stocks[place]
        claims[place] = min(max(piece, stock.ahead - stock.lines) + share, LINES_MAX)
    return claims

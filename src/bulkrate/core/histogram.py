"""Values counted in buckets: what is added up, asked for, and told apart.

Counting one value costs less than a microsecond. A snapshot is a value and belongs to everybody.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

import msgspec


class HistogramSnapshot(msgspec.Struct, frozen=True):
    """How many values fell into which bucket, the last being for those beyond every bound; and their sum."""

    counts: tuple[int, ...]
    sum: float

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)


class Histogram:
    """Values in buckets. `bounds` are their upper ends, rising."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...], before: HistogramSnapshot | None = None) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        if before is not None and len(before.counts) == len(self._counts):
            self._counts = list(before.counts)
            self._sum = before.sum

    def add(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def snapshot(self) -> HistogramSnapshot:
        """The numbers of now."""
        return HistogramSnapshot(tuple(self._counts), self._sum)


def added(parts: Iterable[HistogramSnapshot]) -> HistogramSnapshot:
    """Histograms of the same bounds as one; at least one."""
    every = list(parts)
    return HistogramSnapshot(
        tuple(map(sum, zip(*(part.counts for part in every), strict=True))), sum(part.sum for part in every)
    )


def quantile(histogram: HistogramSnapshot, bounds: Sequence[float], share: float) -> float | None:
    """The value that `share` (0 to 1) of all values lie below, guessed within its bucket.

    None without values. What lies beyond the last bound is taken for the last bound.
    """
    total = histogram.count
    if total == 0:
        return None
    rank = share * total
    below = 0
    for place, count in enumerate(histogram.counts[: len(bounds)]):
        if count and below + count >= rank:
            start = bounds[place - 1] if place else 0.0
            return start + (bounds[place] - start) * (rank - below) / count
        below += count
    return bounds[-1]


def since(now: HistogramSnapshot, before: HistogramSnapshot) -> HistogramSnapshot:
    """What came between two snapshots of one histogram; all of `now` when it began anew."""
    counts = tuple(a - b for a, b in zip(now.counts, before.counts, strict=True))
    if any(count < 0 for count in counts):
        return now
    return HistogramSnapshot(counts, now.sum - before.sum)

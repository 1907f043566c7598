"""Sums that are not certain: tokens and dollars with their bounds, added up and told to people.

An unknown price makes a sum "at least", and never counts as nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from bulkrate.core.money.price import Mark
from bulkrate.core.money.words import NOTHING, at_least, counted, usd_text


class Range(msgspec.Struct, frozen=True):
    """A number of tokens and its bounds; `high` None: there is none."""

    low: int
    likely: int
    high: int | None

    @property
    def text(self) -> str:
        """For people."""
        if self.low == self.likely == self.high:
            return f"{self.likely:,}"
        most = "no upper bound" if self.high is None else f"at most {self.high:,}"
        return f"{self.likely:,} ({self.low:,} or more, {most})"

    @classmethod
    def sum(cls, ranges: Sequence[Range]) -> Range:
        """All of them as one; without a bound where one of them has none."""
        highs = [found.high for found in ranges if found.high is not None]
        return cls(
            sum(found.low for found in ranges),
            sum(found.likely for found in ranges),
            sum(highs) if len(highs) == len(ranges) else None,
        )


class Money(msgspec.Struct, frozen=True, kw_only=True):
    """Dollars and their bounds. `likely` is None where no line's price is known; `high` also where there is
    no ceiling on the output.

    `unknown_lines` are not in the sum, or not wholly; with any, the sum is "at least". `mark` is that of the
    least sure price in the sum.
    """

    low: Decimal | None
    likely: Decimal | None
    high: Decimal | None
    mark: Mark
    source: str
    unknown_lines: int = 0

    @property
    def text(self) -> str:
        """For people: the likely sum, its bounds, its mark, and what is not in it."""
        if self.likely is None or self.low is None:
            return f"unknown: {self.source}"
        told = [at_least(self.likely, self.unknown_lines)]
        if not self.low == self.likely == self.high:
            most = "without an upper bound" if self.high is None else f"at most {usd_text(self.high)}"
            told[0] += f" ({usd_text(self.low)} or more, {most})"
        told.append(self.mark)
        if self.unknown_lines:
            told.append(f"without {counted(self.unknown_lines, 'line')} whose price is unknown")
        return ", ".join(told)

    @property
    def short(self) -> str:
        """For people: the likely sum and its mark."""
        told = at_least(self.likely, self.unknown_lines)
        return told if self.likely is None else f"{told} ({self.mark})"

    @classmethod
    def sum(cls, parts: Sequence[Money]) -> Money:
        """All of them as one, which is as sure as the least sure."""
        known = [part for part in parts if part.likely is not None]
        if not known:
            unknown = sum(part.unknown_lines for part in parts)
            source = parts[0].source if parts else "no lines"
            return cls(
                low=None, likely=None, high=None, mark=Mark.UNKNOWN, source=source, unknown_lines=unknown
            )
        weakest = max(known, key=lambda part: part.mark.doubt)
        highs = [part.high for part in parts if part.high is not None]
        return cls(
            low=sum((part.low or NOTHING for part in known), NOTHING),
            likely=sum((part.likely or NOTHING for part in known), NOTHING),
            high=sum(highs, NOTHING) if len(highs) == len(parts) else None,
            mark=weakest.mark,
            source=weakest.source,
            unknown_lines=sum(part.unknown_lines for part in parts),
        )

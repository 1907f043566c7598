"""What a job is likely to cost, and how it is told to people.

Every sum tells how many lines it does not cover.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from bulkrate.core.money.bounds import Money, Range
from bulkrate.core.money.price import STANDARD
from bulkrate.core.money.words import counted, usd_text


class ModelEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """The lines of one model in one tier. `output.high` is the ceiling; `uncounted` are parts (audio, files)
    that cost something which cannot be counted.
    """

    model: str
    tier: str
    lines: int
    input: Range
    output: Range
    output_basis: str
    standard: Money
    batch: Money
    uncounted: int = 0
    nearest: tuple[str, ...] = ()


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What a job is likely to cost. `saving_lines` is how many lines have both prices, on which
    `saving_usd` and `saving_percent` are reckoned. `how_sure` says what all of it rests on.
    """

    lines_total: int
    input: Range
    output: Range
    standard: Money
    batch: Money
    saving_usd: Decimal | None
    saving_percent: Decimal | None
    saving_lines: int
    how_sure: tuple[str, ...]
    models: tuple[ModelEstimate, ...]

    def lines(self) -> list[str]:
        """The estimate for people, line by line."""
        models = dict.fromkeys(part.model for part in self.models)
        told = [
            f"{counted(self.lines_total, 'line')} of {', '.join(models)}" if models else "no lines",
            f"  input     {self.input.text} tokens",
            f"  output    {self.output.text} tokens",
            f"  standard  {self.standard.text}",
            f"  batch     {self.batch.text}",
        ]
        if self.saving_usd is not None:
            on = "" if self.saving_lines == self.lines_total else f", on {self.saving_lines:,} of the lines"
            told.append(f"  saving    {usd_text(self.saving_usd)} ({self.saving_percent} %{on})")
        if len(self.models) > 1:
            told += [
                f"  {part.model}{_tier(part.tier)}: {counted(part.lines, 'line')}, "
                f"standard {part.standard.short}, batch {part.batch.short}"
                for part in self.models
            ]
        told += [f"  how sure  {sure}" for sure in self.how_sure]
        told += [f"  prices    {source}" for source in _sources(self.models)]
        told += [
            f"  no price  {part.model}; names like it: {', '.join(part.nearest)}"
            for part in self.models
            if part.nearest
        ]
        return told


def _sources(models: Sequence[ModelEstimate]) -> list[str]:
    """Each mark and source once, with what it is of."""
    found: dict[tuple[str, str], list[str]] = {}
    for part in models:
        for what, money in (("standard", part.standard), ("batch", part.batch)):
            of = f"{part.model}{_tier(part.tier)} {what}" if len(models) > 1 else what
            found.setdefault((money.mark, money.source), []).append(of)
    return [f"{mark}: {', '.join(of)}: {source}" for (mark, source), of in found.items()]


def _tier(tier: str) -> str:
    return "" if tier == STANDARD else f" ({tier})"

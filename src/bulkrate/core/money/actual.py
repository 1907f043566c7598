"""What a job did cost, and how it is told to people, beside the estimate."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from bulkrate.core.money.estimate import Estimate
from bulkrate.core.money.price import BATCH, Mark
from bulkrate.core.money.words import NOTHING, at_least, counted
from bulkrate.providers.usage import Usage


class ModelActual(msgspec.Struct, frozen=True, kw_only=True):
    """What was bought of one model in one tier."""

    model: str
    tier: str
    purchases: int
    usage: Usage
    usd: Decimal | None
    mark: Mark
    source: str
    unknown_purchases: int


class Actual(msgspec.Struct, frozen=True, kw_only=True):
    """What a job did cost. `usd` is None where nothing is known, "at least" with `unknown_purchases`."""

    purchases: int
    usage: Usage
    usd: Decimal | None
    mark: Mark
    unknown_purchases: int
    models: tuple[ModelActual, ...]

    def lines(self, estimate: Estimate | None = None) -> list[str]:
        """The sum for people, beside the estimate where there is one."""
        spent = at_least(self.usd, self.unknown_purchases)
        unknown = counted(self.unknown_purchases, "answer")
        parts = self._by_tier()
        without = [f"  without   {unknown} whose price is unknown"] if self.unknown_purchases else []
        used = self.usage
        if estimate is None:
            return [
                counted(self.purchases, "answer"),
                f"  input     {used.input_tokens:,} tokens, {used.cached_tokens:,} of them cached",
                f"  output    {used.output_tokens:,} tokens",
                f"  cost      {spent}, {self.mark}",
                *parts,
                *without,
            ]
        expected = estimate.batch if self._mostly_batch() else estimate.standard
        rows = [
            ("", "estimate", "actual", "difference"),
            _row("answers", estimate.lines_total, self.purchases),
            _row("input", estimate.input.likely, used.input_tokens),
            _row("output", estimate.output.likely, used.output_tokens),
            (
                "cost",
                at_least(expected.likely, expected.unknown_lines),
                spent,
                _off(expected.likely, self.usd),
            ),
        ]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        table = ["  ".join(map(str.rjust, row, widths)) for row in rows]
        return [*table, *parts, *without]

    def _by_tier(self) -> list[str]:
        """What was bought at which price, where that is not all the same."""
        tiers = sorted({part.tier for part in self.models})
        if len(tiers) < 2:
            return []
        told = []
        for tier in tiers:
            mine = [part for part in self.models if part.tier == tier]
            known = [part.usd for part in mine if part.usd is not None]
            usd = at_least(
                sum(known, NOTHING) if known else None, sum(part.unknown_purchases for part in mine)
            )
            told.append(f"  {tier:<9} {counted(sum(part.purchases for part in mine), 'answer')}, {usd}")
        return told

    def _mostly_batch(self) -> bool:
        return 2 * sum(part.purchases for part in self.models if part.tier == BATCH) > self.purchases


def _row(what: str, expected: int, found: int) -> tuple[str, str, str, str]:
    return what, f"{expected:,}", f"{found:,}", _off(Decimal(expected), Decimal(found))


def _off(expected: Decimal | None, found: Decimal | None) -> str:
    if not expected or found is None:
        return ""
    return f"{100 * (found - expected) / expected:+.1f} %"

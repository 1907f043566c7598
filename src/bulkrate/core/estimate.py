"""What a job will cost, and what it did cost.

Lines are added one by one and only sums are kept, so a million lines take no more room than one. Every sum
tells how many lines it does not cover: an unknown price makes it "at least", and never counts as nothing.
Reads no price and counts no token by itself.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence
from decimal import ROUND_HALF_UP, Decimal

import msgspec

from bulkrate.core.prices import BATCH, STANDARD, Band, Mark, Price, dollars
from bulkrate.core.tokens import Tokens
from bulkrate.providers.usage import Usage

#: Says what a model costs: a `PriceBook`'s `price` for one upstream.
PriceOf = Callable[[str], Price]

_LOW, _LIKELY, _HIGH = range(3)
_SCENARIOS = 3
_NOTHING = Decimal(0)
_CENT = Decimal("0.01")


class Range(msgspec.Struct, frozen=True):
    """A number of tokens and its bounds; `high` None: there is none."""

    low: int
    likely: int
    high: int | None


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
            f"{_count(self.lines_total, 'line')} of {', '.join(models)}" if models else "no lines",
            f"  input     {_range(self.input)} tokens",
            f"  output    {_range(self.output)} tokens",
            f"  standard  {money_text(self.standard)}",
            f"  batch     {money_text(self.batch)}",
        ]
        if self.saving_usd is not None:
            on = "" if self.saving_lines == self.lines_total else f", on {self.saving_lines:,} of the lines"
            told.append(f"  saving    {usd_text(self.saving_usd)} ({self.saving_percent} %{on})")
        if len(self.models) > 1:
            told += [
                f"  {part.model}{_tier(part.tier)}: {_count(part.lines, 'line')}, "
                f"standard {_short(part.standard)}, batch {_short(part.batch)}"
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


class Estimator:
    """Adds up lines to an `Estimate`."""

    def __init__(self, price_of: PriceOf) -> None:
        self._price_of = price_of
        self._groups: dict[tuple[str, str], _Group] = {}

    def add(self, model: str, tokens: Tokens, lines: int = 1) -> None:
        """Add a line, or as many like it."""
        tier = tokens.tier or STANDARD
        group = self._groups.get((model, tier))
        if group is None:
            group = _Group(model, tier, self._price_of(model))
            self._groups[model, tier] = group
        group.add(tokens, lines)

    def estimate(self) -> Estimate:
        """The estimate of all lines so far."""
        models = tuple(group.estimate() for _, group in sorted(self._groups.items()))
        whole = [m for m in models if not m.standard.unknown_lines and not m.batch.unknown_lines]
        dear = sum((m.standard.likely or _NOTHING for m in whole), _NOTHING)
        cheap = sum((m.batch.likely or _NOTHING for m in whole), _NOTHING)
        return Estimate(
            lines_total=sum(m.lines for m in models),
            input=_sum_ranges([m.input for m in models]),
            output=_sum_ranges([m.output for m in models]),
            standard=_sum_money([m.standard for m in models]),
            batch=_sum_money([m.batch for m in models]),
            saving_usd=dear - cheap if whole else None,
            saving_percent=_percent(dear - cheap, dear) if whole else None,
            saving_lines=sum(m.lines for m in whole),
            how_sure=_how_sure(models),
            models=models,
        )


class _Group:
    """The sums of one model and tier: lines, input and output, by scenario and by band of the price."""

    def __init__(self, model: str, tier: str, price: Price) -> None:
        self._model, self._tier, self._price = model, tier, price
        self._uncounted = self._uncounted_lines = 0
        self._bases: dict[str, None] = {}
        self._bounded = True
        bands = (*price.tiers.get(tier, ()), *price.tiers.get(BATCH, ()))
        self._steps = sorted({band.above for band in bands} | {0})
        self._sums = [[[0, 0, 0] for _ in self._steps] for _ in range(_SCENARIOS)]

    def add(self, tokens: Tokens, lines: int) -> None:
        self._uncounted += lines * tokens.uncounted
        self._uncounted_lines += lines * (tokens.uncounted > 0)
        self._bases[tokens.output_basis] = None
        ceiling = self._price.output_max if tokens.output_max is None else tokens.output_max
        if ceiling is None:
            self._bounded = False
            ceiling = tokens.output.high
        took, gave = tokens.input, tokens.output
        for scenario, input_tokens, output_tokens in (
            (_LOW, took.low, gave.low),
            (_LIKELY, took.likely, gave.likely),
            (_HIGH, took.high, ceiling),
        ):
            row = self._sums[scenario][max(0, bisect.bisect_left(self._steps, input_tokens) - 1)]
            row[0] += lines
            row[1] += lines * input_tokens
            row[2] += lines * output_tokens

    def estimate(self) -> ModelEstimate:
        low, likely, high = ([sum(row[i] for row in rows) for i in range(3)] for rows in self._sums)
        return ModelEstimate(
            model=self._model,
            tier=self._tier,
            lines=likely[0],
            input=Range(low[1], likely[1], high[1]),
            output=Range(low[2], likely[2], high[2] if self._bounded else None),
            output_basis=" and ".join(self._bases),
            standard=self._money(self._tier),
            batch=self._money(BATCH),
            uncounted=self._uncounted,
            nearest=self._price.nearest,
        )

    def _money(self, tier: str) -> Money:
        totals: list[int | None] = []
        for rows in self._sums:
            picos = [
                self._pico(tier, step, row) for step, row in zip(self._steps, rows, strict=True) if row[0]
            ]
            known = [pico for pico in picos if pico is not None]
            totals.append(sum(known) if known else None)
        low, likely, high = (None if pico is None else dollars(pico) for pico in totals)
        unknown, weakest = self._doubts(tier)
        return Money(
            low=low,
            likely=likely,
            high=high if self._bounded and not unknown else None,
            mark=Mark.UNKNOWN if likely is None else weakest.mark,
            source=weakest.source,
            unknown_lines=max(unknown, self._uncounted_lines),
        )

    def _pico(self, tier: str, above: int, row: Sequence[int]) -> int | None:
        return self._price.band(tier, above + 1).pico(row[1], row[2])

    def _doubts(self, tier: str) -> tuple[int, Band]:
        """How many lines have no price, and the least sure band of the others, or of all if none has one."""
        known: list[Band] = []
        unknown: list[Band] = []
        lines_unknown = 0
        for above, row in zip(self._steps, self._sums[_LIKELY], strict=True):
            if row[0]:
                priced = self._pico(tier, above, row) is not None
                (known if priced else unknown).append(self._price.band(tier, above + 1))
                lines_unknown += 0 if priced else row[0]
        return lines_unknown, max(known or unknown, key=lambda band: band.mark.doubt)


def _sum_ranges(ranges: Sequence[Range]) -> Range:
    highs = [found.high for found in ranges if found.high is not None]
    return Range(
        sum(found.low for found in ranges),
        sum(found.likely for found in ranges),
        sum(highs) if len(highs) == len(ranges) else None,
    )


def _sum_money(parts: Sequence[Money]) -> Money:
    known = [part for part in parts if part.likely is not None]
    if not known:
        unknown = sum(part.unknown_lines for part in parts)
        source = parts[0].source if parts else "no lines"
        return Money(
            low=None, likely=None, high=None, mark=Mark.UNKNOWN, source=source, unknown_lines=unknown
        )
    weakest = max(known, key=lambda part: part.mark.doubt)
    highs = [part.high for part in parts if part.high is not None]
    return Money(
        low=sum((part.low or _NOTHING for part in known), _NOTHING),
        likely=sum((part.likely or _NOTHING for part in known), _NOTHING),
        high=sum(highs, _NOTHING) if len(highs) == len(parts) else None,
        mark=weakest.mark,
        source=weakest.source,
        unknown_lines=sum(part.unknown_lines for part in parts),
    )


def _how_sure(models: Sequence[ModelEstimate]) -> tuple[str, ...]:
    """What the estimate rests on, a sentence each."""
    told = []
    likely = sum(part.input.likely for part in models)
    off = max(
        likely - sum(part.input.low for part in models), sum(part.input.high or 0 for part in models) - likely
    )
    if likely:
        told.append(
            "input tokens are exact"
            if off == 0
            else f"input tokens are within {math.ceil(100 * off / likely)} %"
        )
    told += [f"output is {basis}" for basis in dict.fromkeys(part.output_basis for part in models)]
    if any(part.output.high is None for part in models):
        told.append("no bound on the output: set max_tokens to have one")
    if uncounted := sum(part.uncounted for part in models):
        told.append(f"{uncounted:,} parts (audio, files, pictures to be made) are not counted")
    return tuple(told)


def _sources(models: Sequence[ModelEstimate]) -> list[str]:
    """Each mark and source once, with what it is of."""
    found: dict[tuple[str, str], list[str]] = {}
    for part in models:
        for what, money in (("standard", part.standard), ("batch", part.batch)):
            of = f"{part.model}{_tier(part.tier)} {what}" if len(models) > 1 else what
            found.setdefault((money.mark, money.source), []).append(of)
    return [f"{mark}: {', '.join(of)}: {source}" for (mark, source), of in found.items()]


# --- afterwards -------------------------------------------------------------------------------------------


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
        spent = _at_least(self.usd, self.unknown_purchases)
        unknown = _count(self.unknown_purchases, "answer")
        parts = self._by_tier()
        without = [f"  without   {unknown} whose price is unknown"] if self.unknown_purchases else []
        used = self.usage
        if estimate is None:
            return [
                _count(self.purchases, "answer"),
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
                _at_least(expected.likely, expected.unknown_lines),
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
            usd = _at_least(
                sum(known, _NOTHING) if known else None, sum(part.unknown_purchases for part in mine)
            )
            told.append(f"  {tier:<9} {_count(sum(part.purchases for part in mine), 'answer')}, {usd}")
        return told

    def _mostly_batch(self) -> bool:
        return 2 * sum(part.purchases for part in self.models if part.tier == BATCH) > self.purchases


# --- in words ---------------------------------------------------------------------------------------------


def usd_text(usd: Decimal) -> str:
    """Dollars for people: to the cent, or to two digits where that is finer."""
    if usd:
        usd = usd.quantize(Decimal(1).scaleb(min(-2, usd.adjusted() - 1)), ROUND_HALF_UP).normalize()
    return f"${max(usd, usd.quantize(_CENT), key=_digits):,f}"


def _digits(usd: Decimal) -> int:
    return -int(usd.as_tuple().exponent)


def money_text(money: Money) -> str:
    """An estimate for people: the likely sum, its bounds, its mark, and what is not in it."""
    if money.likely is None or money.low is None:
        return f"unknown: {money.source}"
    told = [_at_least(money.likely, money.unknown_lines)]
    if not money.low == money.likely == money.high:
        most = "without an upper bound" if money.high is None else f"at most {usd_text(money.high)}"
        told[0] += f" ({usd_text(money.low)} or more, {most})"
    told.append(money.mark)
    if money.unknown_lines:
        told.append(f"without {_count(money.unknown_lines, 'line')} whose price is unknown")
    return ", ".join(told)


def _at_least(usd: Decimal | None, unknown: int) -> str:
    if usd is None:
        return "unknown"
    return f"at least {usd_text(usd)}" if unknown else usd_text(usd)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _short(money: Money) -> str:
    told = _at_least(money.likely, money.unknown_lines)
    return told if money.likely is None else f"{told} ({money.mark})"


def _range(found: Range) -> str:
    if found.low == found.likely == found.high:
        return f"{found.likely:,}"
    most = "no upper bound" if found.high is None else f"at most {found.high:,}"
    return f"{found.likely:,} ({found.low:,} or more, {most})"


def _tier(tier: str) -> str:
    return "" if tier == STANDARD else f" ({tier})"


def _row(what: str, expected: int, found: int) -> tuple[str, str, str, str]:
    return what, f"{expected:,}", f"{found:,}", _off(Decimal(expected), Decimal(found))


def _off(expected: Decimal | None, found: Decimal | None) -> str:
    if not expected or found is None:
        return ""
    return f"{100 * (found - expected) / expected:+.1f} %"


def _percent(part: Decimal, whole: Decimal) -> Decimal:
    return (100 * part / whole).quantize(Decimal(1), ROUND_HALF_UP) if whole else _NOTHING

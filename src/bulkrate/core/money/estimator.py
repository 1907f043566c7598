"""Adding lines up to an estimate of what they cost.

Lines are added one by one and only sums are kept, so a million lines take no more room than one. Reads no
price and counts no token by itself.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence
from decimal import ROUND_HALF_UP, Decimal

from bulkrate.core.money.bounds import Money, Range
from bulkrate.core.money.estimate import Estimate, ModelEstimate
from bulkrate.core.money.price import BATCH, STANDARD, Band, Mark, Price, dollars
from bulkrate.core.money.words import NOTHING
from bulkrate.core.tokens.request import Tokens

#: Says what a model costs: a `PriceBook`'s `price` for one upstream.
PriceOf = Callable[[str], Price]

_LOW, _LIKELY, _HIGH = range(3)
_SCENARIOS = 3


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
        dear = sum((m.standard.likely or NOTHING for m in whole), NOTHING)
        cheap = sum((m.batch.likely or NOTHING for m in whole), NOTHING)
        return Estimate(
            lines_total=sum(m.lines for m in models),
            input=Range.sum([m.input for m in models]),
            output=Range.sum([m.output for m in models]),
            standard=Money.sum([m.standard for m in models]),
            batch=Money.sum([m.batch for m in models]),
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


def _percent(part: Decimal, whole: Decimal) -> Decimal:
    return (100 * part / whole).quantize(Decimal(1), ROUND_HALF_UP) if whole else NOTHING

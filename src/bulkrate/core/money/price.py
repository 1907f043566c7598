"""What a price is, how sure it is, and what a request costs by it.

Every price carries a mark. What is not known stays unknown: it never becomes zero, nor the standard price.
Sums are made in whole pico-dollars and told in exact decimals. Looks nothing up outside its arguments.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from bulkrate.core.money.pricelist import PICO_PER_DOLLAR_A_MILLION, Rates
from bulkrate.providers.usage import Usage

_CENT = Decimal("0.01")
STANDARD = "standard"
BATCH = "batch"
TIERS = (STANDARD, BATCH, "flex", "priority")


class Mark(StrEnum):
    """How a figure came to be, the surest first."""

    PUBLISHED = "published"  # the provider's own price, from the list
    GIVEN = "given"  # the user's own setting
    LOCAL = "local"  # an upstream at a private address that nobody charges for
    DERIVED = "derived"  # worked out by a rule, which the source names
    UNKNOWN = "unknown"

    @property
    def doubt(self) -> int:
        """0 for the surest."""
        return list(Mark).index(self)


class Cost(msgspec.Struct, frozen=True):
    """Dollars. None: unknown."""

    usd: Decimal | None
    mark: Mark
    source: str


class Band(msgspec.Struct, frozen=True):
    """The price of requests with more than `above` input tokens."""

    above: int
    rates: Rates
    mark: Mark
    source: str

    def pico(
        self, input_tokens: int, output_tokens: int, *, cached: int = 0, reasoning: int = 0
    ) -> int | None:
        """Pico-dollars; None where a rate that is needed is not known.

        `cached` are among the input tokens, `reasoning` among the output tokens. Where the provider tells no
        price of its own for them, they cost as much as the others.
        """
        rates = self.rates
        total = 0
        for tokens, rate in (
            (input_tokens - cached, rates.input),
            (cached, rates.input if rates.cached is None else rates.cached),
            (output_tokens - reasoning, rates.output),
            (reasoning, rates.output if rates.reasoning is None else rates.reasoning),
        ):
            if tokens > 0:
                if rate is None:
                    return None
                total += tokens * rate
        return total


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a model's price at an upstream.

    `key` is its name in the list, None when it is not there; `nearest` are names like it. `tiers` holds bands
    by rising `above`. `output_max` and `context` are limits in tokens.
    """

    model: str
    key: str | None = None
    provider: str | None = None
    mode: str | None = None
    context: int | None = None
    output_max: int | None = None
    tiers: dict[str, tuple[Band, ...]] = {}
    why_unknown: str = ""
    nearest: tuple[str, ...] = ()

    def band(self, tier: str, input_tokens: int = 0) -> Band:
        """The price of a request of so many input tokens; one marked unknown where there is none."""
        found = [band for band in self.tiers.get(tier, ()) if band.above < input_tokens or band.above == 0]
        if found:
            return found[-1]
        why = self.why_unknown or f"{self.provider or 'its provider'} publishes no {tier} price for it"
        return Band(0, Rates(), Mark.UNKNOWN, why)


def cost(usage: Usage, price: Price, tier: str = STANDARD) -> Cost:
    """What a request with this usage costs."""
    cached = min(usage.cached_tokens, usage.input_tokens)
    reasoning = min(usage.reasoning_tokens, usage.output_tokens)
    band = price.band(tier, usage.input_tokens)
    pico = band.pico(usage.input_tokens, usage.output_tokens, cached=cached, reasoning=reasoning)
    if pico is None:
        return Cost(None, Mark.UNKNOWN, band.source)
    return Cost(dollars(pico), band.mark, band.source)


def dollars(pico: int) -> Decimal:
    """Pico-dollars as dollars, exactly, with two decimals or as many as it takes."""
    return _readable(Decimal(pico).scaleb(-12))


def per_million(pico: int) -> Decimal:
    """Pico-dollars per token as dollars per million tokens, exactly."""
    return _readable(Decimal(pico) / PICO_PER_DOLLAR_A_MILLION)


def _readable(usd: Decimal) -> Decimal:
    plain = usd.normalize()
    exponent = plain.as_tuple().exponent
    return plain.quantize(_CENT) if isinstance(exponent, int) and exponent > -2 else plain

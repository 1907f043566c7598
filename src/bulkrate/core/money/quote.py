"""Which price counts for a model at an upstream: the user's, the published one, or one by a provider's rule.

What is not known stays unknown: half a price is none. Looks nothing up outside its arguments.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal

from bulkrate.core.money.names import find, nearest
from bulkrate.core.money.overrides import Override
from bulkrate.core.money.price import BATCH, STANDARD, TIERS, Band, Mark, Price
from bulkrate.core.money.pricelist import PICO_PER_DOLLAR_A_MILLION, Entry, PriceList, Rates
from bulkrate.core.money.sellers import BATCH_SHARE, family, host_of, is_private, provider_at

_YOURS = "your prices"


def price_of(
    model: str,
    prices: PriceList,
    *,
    upstream_url: str | None = None,
    overrides: Mapping[str, Override] | None = None,
    batch_discount: Decimal | None = None,
) -> Price:
    """The price of `model` at an upstream.

    `model` may be `provider/model`, `provider:model` or a name alone; a dated variant that is not listed has
    the price of the model it is a variant of. The upstream's host tells the provider; at a host we do not
    know, the price of the model's own provider is taken, and marked derived. A model without any price is
    free, marked local, at a private address, and else unknown. `batch_discount` is the upstream's, from its
    settings.
    """
    key, variant = find(model, prices, provider_at(upstream_url) if upstream_url else None)
    entry = prices.models[key] if key is not None else None
    mine = _mine(model, key, overrides or {})
    if entry is None and mine is None:
        if upstream_url is not None and is_private(upstream_url):
            free = (Band(0, Rates(0, 0), Mark.LOCAL, "an upstream at a private address, without a price"),)
            return Price(model=model, tiers=dict.fromkeys(TIERS, free))
        return Price(
            model=model,
            why_unknown=f"{prices.head.source} has no price for it",
            nearest=nearest(model, prices),
        )
    provider = None if entry is None else family(entry.provider)
    tiers = (
        {} if entry is None else dict(_listed(entry, prices, _doubts(key, variant, upstream_url, provider)))
    )
    if mine is not None:
        tiers = _overridden(tiers, mine)
    discount = mine.batch_discount if mine and mine.batch_discount is not None else batch_discount
    batch = _batch(tiers, mine, discount, provider)
    tiers = {tier: bands for tier, bands in (tiers | {BATCH: batch}).items() if bands}
    return Price(
        model=model,
        key=key,
        provider=provider,
        mode=entry.mode if entry else None,
        context=entry.context if entry else None,
        output_max=entry.output if entry else None,
        tiers=tiers,
    )


def _mine(model: str, key: str | None, overrides: Mapping[str, Override]) -> Override | None:
    return overrides.get(model) or (overrides.get(key) if key is not None else None)


def _doubts(key: str | None, variant: bool, upstream_url: str | None, provider: str | None) -> str:
    """Why the listed price may not be what is charged; empty when it is."""
    if upstream_url is not None and provider_at(upstream_url) is None:
        return f"price at {provider}; what {host_of(upstream_url)} charges is not known"
    return f"price of {key}, of which this is a variant" if variant else ""


def _listed(entry: Entry, prices: PriceList, doubts: str) -> Iterator[tuple[str, tuple[Band, ...]]]:
    """The bands of each tier in the list."""
    source = f"{prices.head.source}, {prices.head.date}"
    mark = Mark.DERIVED if doubts else Mark.PUBLISHED
    for tier in TIERS:
        bands = []
        for name, rates in entry.rates.items():
            own, _, above = name.partition(">")
            if own == tier:
                bands.append(Band(int(above or 0), rates, mark, f"{doubts} ({source})" if doubts else source))
        # A long-context price alone says nothing about shorter requests.
        if bands and bands[0].above == 0:
            yield tier, tuple(bands)


def _overridden(tiers: Mapping[str, tuple[Band, ...]], mine: Override) -> dict[str, tuple[Band, ...]]:
    """The tiers with the user's standard price in place of the listed one.

    Whoever has a price of their own has no long-context, flex or priority price from the list.
    """
    if mine.input is None and mine.output is None and mine.cached_input is None:
        return dict(tiers)
    base = tiers[STANDARD][0] if STANDARD in tiers else Band(0, Rates(), Mark.UNKNOWN, "")
    # The listed price of cached input belongs to that of input, the price of hidden output to that of output.
    kept = Rates(
        base.rates.input if mine.input is None else None,
        base.rates.output if mine.output is None else None,
        base.rates.cached if mine.input is None and mine.cached_input is None else None,
        base.rates.reasoning if mine.output is None else None,
    )
    rates = Rates(
        kept.input if mine.input is None else _pico(mine.input),
        kept.output if mine.output is None else _pico(mine.output),
        kept.cached if mine.cached_input is None else _pico(mine.cached_input),
        kept.reasoning,
    )
    source = _YOURS if kept == Rates() else f"{_YOURS}; what you left out: {base.source}"
    return {STANDARD: (Band(0, rates, Mark.GIVEN, source),)}


def _batch(
    tiers: Mapping[str, tuple[Band, ...]],
    mine: Override | None,
    discount: Decimal | None,
    provider: str | None,
) -> tuple[Band, ...]:
    """The batch price: the user's, else the published one, else by the provider's rule; empty if unknown."""
    standard = tiers.get(STANDARD, ())
    if discount is not None:
        said = f"standard price less your batch_discount of {discount}"
        bands = tuple(_share(band, 1 - discount, Mark.GIVEN, said) for band in standard)
    else:
        bands = _completed(tiers.get(BATCH, ()), standard, provider)
    if mine is None or (mine.batch_input is None and mine.batch_output is None):
        return bands
    base = bands[0].rates if bands else Rates()
    rates = Rates(
        base.input if mine.batch_input is None else _pico(mine.batch_input),
        base.output if mine.batch_output is None else _pico(mine.batch_output),
        base.cached if mine.batch_input is None else None,
        base.reasoning if mine.batch_output is None else None,
    )
    return (Band(0, rates, Mark.GIVEN, _YOURS),)


def _completed(
    published: tuple[Band, ...], standard: tuple[Band, ...], provider: str | None
) -> tuple[Band, ...]:
    """The published batch price; where parts of it are missing, they are derived by the provider's rule."""
    share, said_at = BATCH_SHARE.get(provider or "", (None, ""))
    by_above = {band.above: band for band in published}
    bands = []
    for band in standard:
        found = by_above.get(band.above)
        if found is not None and _covers(found.rates, band.rates):
            bands.append(found)
        elif share is not None:
            said = f"{share} of the standard price, as {provider} sells batches ({said_at})"
            derived = _share(band, share, Mark.DERIVED, said)
            bands.append(derived if found is None else _filled(found, derived))
        else:
            # Half a price is none, and the price of short requests is not that of long ones.
            bands.append(
                Band(band.above, Rates(), Mark.UNKNOWN, f"{provider} publishes no batch price for it")
            )
    return tuple(bands) if any(band.mark is not Mark.UNKNOWN for band in bands) else ()


def _covers(rates: Rates, standard: Rates) -> bool:
    return all(
        getattr(rates, kind) is not None or getattr(standard, kind) is None for kind in ("input", "output")
    )


def _filled(found: Band, derived: Band) -> Band:
    kinds = Rates.__struct_fields__
    told = [getattr(found.rates, kind) for kind in kinds]
    rates = Rates(
        *(
            d if t is None else t
            for t, d in zip(told, (getattr(derived.rates, k) for k in kinds), strict=True)
        )
    )
    return Band(found.above, rates, Mark.DERIVED, f"in part {derived.source}")


def _share(band: Band, share: Decimal, mark: Mark, source: str) -> Band:
    def of(pico: int | None) -> int | None:
        return None if pico is None else int((pico * share).to_integral_value())

    rates = band.rates
    # A discount on cached input is not given twice; the rule speaks of the standard price.
    taken = Rates(of(rates.input), of(rates.output), None, of(rates.reasoning))
    return Band(band.above, taken, mark, source)


def _pico(per_million: Decimal) -> int:
    return int((per_million * PICO_PER_DOLLAR_A_MILLION).to_integral_value())

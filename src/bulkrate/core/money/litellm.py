"""The price list that is in litellm's file of models.

What is not paid by token, or cannot be in a batch, is passed over. Reads no file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from bulkrate.core.money.pricelist import Entry, Head, PriceList, PricesUnfit, Rates

#: Dearer than this is a slip of the pen: a cent per token is $10,000 per million.
_PICO_MAX = 10**10
#: Fewer models than this are not the file that we know.
_MODELS_MIN = 500

#: Modes whose lines are paid by token and can be in a batch.
_WRITES = {"chat", "responses", "completion"}
_READS = {"embedding", "moderation"}
# litellm's names of what is paid for, and their places in `Rates`.
_KINDS = {
    "input_cost_per_token": 0,
    "output_cost_per_token": 1,
    "cache_read_input_token_cost": 2,
    "output_cost_per_reasoning_token": 3,
}
_TIERS = {None: "standard", "batches": "batch", "flex": "flex", "priority": "priority"}
_FIELD = re.compile(
    rf"({'|'.join(_KINDS)})(?:_above_(\d+)k_tokens)?(?:_({'|'.join(name for name in _TIERS if name)}))?"
)


def distil(original: bytes, *, source: str, date: str) -> PriceList:
    """The price list in litellm's `model_prices_and_context_window.json`.

    Raises `PricesUnfit` when it is not that file, or a price in it cannot be.
    """
    try:
        # A `Decimal` of each float's own digits: 7.5e-08 is 75,000 pico-dollars and not a hair less.
        models = msgspec.json.Decoder(dict[str, dict[str, Any]], float_hook=Decimal).decode(original)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
        raise PricesUnfit(f"{source} is not litellm's file of models: {cause}") from cause
    entries = {}
    for name, told in models.items():
        entry = _entry(told)
        if entry is not None and name != "sample_spec":
            entries[name] = entry
    if len(entries) < _MODELS_MIN:
        raise PricesUnfit(
            f"{source} has prices of {len(entries)} models; there should be {_MODELS_MIN} or more"
        )
    dear = next((name for name, entry in entries.items() if max(_all_of(entry)) > _PICO_MAX), None)
    if dear is not None:
        raise PricesUnfit(f"{source} asks more than $10,000 per million tokens for {dear}")
    head = Head(
        source=source, date=date, licence="MIT, see NOTICE", sha256=hashlib.sha256(original).hexdigest()
    )
    return PriceList(head=head, models=dict(sorted(entries.items())))


def _entry(told: Mapping[str, Any]) -> Entry | None:
    mode = told.get("mode")
    if mode not in _WRITES | _READS:
        return None
    found: dict[str, list[int | None]] = {}
    for tier, kind, dollars in _prices(told):
        pico = int((Decimal(dollars) * 10**12).to_integral_value())
        # A zero stands for "not told" in most entries, and for "nothing" in moderations, which are free.
        if pico > 0 or (pico == 0 and mode == "moderation"):
            found.setdefault(tier, [None] * len(_KINDS))[kind] = pico
    rates = {}
    for tier in sorted(found, key=_tier_order):
        row = found[tier]
        if row[3] == row[1]:
            row[3] = None
        rates[tier] = Rates(*row)
    needed = rates.get("standard", Rates())
    if needed.input is None and needed.output is None:
        return None
    return Entry(
        mode=str(mode),
        provider=str(told.get("litellm_provider", "")),
        context=_count(told.get("max_input_tokens")),
        output=_count(told.get("max_output_tokens")),
        rates=rates,
    )


def _prices(told: Mapping[str, Any]) -> Iterator[tuple[str, int, Any]]:
    """Tier, kind and dollars per token of each price; what is said twice comes last as it counts."""
    for part in told.get("tiered_pricing", ()):
        above = int(part["range"][0]) if "range" in part else None
        for name, value in part.items():
            if above is not None and name in _KINDS:
                yield ("standard" if above == 0 else f"standard>{above}"), _KINDS[name], value
    for name, value in told.items():
        matched = _FIELD.fullmatch(name)
        if matched and isinstance(value, int | Decimal) and not isinstance(value, bool):
            kind, thousands, tier = matched.groups()
            step = f">{int(thousands) * 1000}" if thousands else ""
            yield _TIERS[tier] + step, _KINDS[kind], value


def _tier_order(tier: str) -> tuple[int, int]:
    name, _, above = tier.partition(">")
    return list(_TIERS.values()).index(name), int(above or 0)


def _count(value: Any) -> int | None:
    return int(value) if isinstance(value, int | Decimal) and value > 0 else None


def _all_of(entry: Entry) -> Iterator[int]:
    for rates in entry.rates.values():
        for pico in (rates.input, rates.output, rates.cached, rates.reasoning):
            yield pico or 0

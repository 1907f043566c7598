"""The list of published prices: its shape, and how it is made of litellm's model file.

Prices are whole numbers of pico-dollars (10⁻¹² $) per token, which is a millionth of a dollar per million
tokens; no binary float ever holds money. What is not published is left out, never zero. Reads no file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from bulkrate.errors import SourceError

#: Pico-dollars per token in a dollar per million tokens.
PICO_PER_DOLLAR_A_MILLION = 10**6
#: Dearer than this is a slip of the pen: a cent per token is $10,000 per million.
_PICO_MAX = 10**10
#: Fewer models than this are not the file that we know.
_MODELS_MIN = 500
# A refreshed list may not lose more of the models, nor change more prices by ten times, than this share.
_LOST_SHARE_MAX = 0.5
_LEAP_SHARE_MAX = 0.1
_LEAP = 10

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


class PricesUnfit(SourceError):
    """A file of prices cannot be read, or says what cannot be."""


class Rates(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Pico-dollars per token. None: not published.

    `cached` is for input read from the provider's cache, `reasoning` for output that nobody sees; where they
    are None, the prices of input and output hold.
    """

    input: int | None = None
    output: int | None = None
    cached: int | None = None
    reasoning: int | None = None


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model. `rates` by tier (`standard`, `batch`, `flex`, `priority`), and by `TIER>N` for requests of
    more than N input tokens. `context` and `output` are the most tokens it takes and gives.
    """

    mode: str
    provider: str
    context: int | None = None
    output: int | None = None
    rates: dict[str, Rates]


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """Where a list is from. `date` is when it was taken, `sha256` that of the original."""

    source: str
    date: str
    licence: str
    sha256: str
    unit: str = "10^-12 USD per token"


class PriceList(msgspec.Struct, frozen=True, kw_only=True):
    """All models with a published price, by litellm's names."""

    head: Head
    models: dict[str, Entry]


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


def encoded(prices: PriceList) -> bytes:
    """The list as it is kept: one model a line, so that two versions can be compared."""
    lines = [
        msgspec.json.encode(name) + b":" + msgspec.json.encode(_trimmed(entry))
        for name, entry in prices.models.items()
    ]
    return (
        b'{"head":' + msgspec.json.encode(prices.head) + b',\n"models":{\n' + b",\n".join(lines) + b"\n}}\n"
    )


def _trimmed(entry: Entry) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(entry)
    for row in told["rates"].values():
        while row[-1] is None:
            row.pop()
    return told


_decoder = msgspec.json.Decoder(PriceList)


def decoded(content: bytes, where: str) -> PriceList:
    """The list in `content`, which is from `where`. Raises `PricesUnfit`."""
    try:
        return _decoder.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
        raise PricesUnfit(f"{where} is not a price list of bulkrate: {cause}") from cause


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What a newer list says differently: names of models, sorted."""

    added: tuple[str, ...]
    gone: tuple[str, ...]
    changed: tuple[str, ...]


def changes(old: PriceList, new: PriceList) -> Changes:
    """What is different in `new`. A model is changed when a price of it is."""
    both = old.models.keys() & new.models.keys()
    return Changes(
        added=tuple(sorted(new.models.keys() - old.models.keys())),
        gone=tuple(sorted(old.models.keys() - new.models.keys())),
        changed=tuple(sorted(name for name in both if old.models[name].rates != new.models[name].rates)),
    )


def check_successor(old: PriceList, new: PriceList) -> Changes:
    """`changes`, unless they are too many to be true; then raises `PricesUnfit`."""
    found = changes(old, new)
    if len(found.gone) > len(old.models) * _LOST_SHARE_MAX:
        raise PricesUnfit(
            f"{new.head.source} lacks {len(found.gone)} of the {len(old.models)} models we know"
        )
    leapt = [name for name in found.changed if _leaps(old.models[name], new.models[name])]
    if len(leapt) > len(old.models) * _LEAP_SHARE_MAX:
        raise PricesUnfit(
            f"{new.head.source} changes the price of {len(leapt)} models by ten times or more, "
            f"{leapt[0]} among them; that is no price list of dollars per token"
        )
    return found


def _leaps(old: Entry, new: Entry) -> bool:
    before, after = old.rates.get("standard", Rates()), new.rates.get("standard", Rates())
    pairs = ((before.input, after.input), (before.output, after.output))
    return any(a and b and max(a, b) >= _LEAP * min(a, b) for a, b in pairs)

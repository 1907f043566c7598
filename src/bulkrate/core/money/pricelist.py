"""The list of published prices: its shape, how it is kept, and what a newer one says differently.

Prices are whole numbers of pico-dollars (10⁻¹² $) per token, which is a millionth of a dollar per million
tokens; no binary float ever holds money. What is not published is left out, never zero. Reads no file.
"""

from __future__ import annotations

from typing import Any

import msgspec

from bulkrate.errors import SourceError

#: Pico-dollars per token in a dollar per million tokens.
PICO_PER_DOLLAR_A_MILLION = 10**6
# A refreshed list may not lose more of the models, nor change more prices by ten times, than this share.
_LOST_SHARE_MAX = 0.5
_LEAP_SHARE_MAX = 0.1
_LEAP = 10


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

"""Finding a model in the price list, whichever way its name is spelled."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

from bulkrate.core.money.pricelist import PriceList
from bulkrate.core.money.sellers import ALIASES, family

_NEAREST_MAX = 3
_DATED = re.compile(r"[-@](?:\d{4}-\d{2}-\d{2}|\d{8}|latest)$")


def find(model: str, prices: PriceList, provider: str | None = None) -> tuple[str | None, bool]:
    """The name of `model` in the list, and whether only its undated variant was found.

    At a `provider` only its own prices count: nobody sells at another's.
    """
    for variant, name in enumerate(_variants(model)):
        for key, seller in _spellings(name, provider):
            entry = prices.models.get(key)
            if entry is not None and (seller is None or seller == family(entry.provider)):
                return key, variant > 0
    return None, False


def _variants(model: str) -> Iterator[str]:
    name = model.removeprefix("models/")
    if name.startswith("ft:"):  # ft:gpt-4o-mini-2024-07-18:org::id
        name = ":".join(name.split(":")[:2])
    yield name
    if _DATED.search(name):
        yield _DATED.sub("", name)


def _spellings(name: str, provider: str | None) -> Iterator[tuple[str, str | None]]:
    """Names to look for, and whose they must be; None: anybody's."""
    found = re.match(r"([\w.-]+)[/:](.+)", name)
    told, rest = (ALIASES.get(found[1], found[1]), found[2]) if found else ("", name)
    if provider is not None:
        yield f"{provider}/{name}", provider
        yield name, provider
        if told == provider:
            yield f"{provider}/{rest}", provider
            yield rest, provider
        return
    yield name, None
    if told:
        yield f"{told}/{rest}", None
        yield rest, told


def nearest(model: str, prices: PriceList) -> tuple[str, ...]:
    """Listed names like `model`, the likest first."""
    last = model.rpartition("/")[2].lower()
    same = [key for key in prices.models if key.rpartition("/")[2].lower() == last]
    near = difflib.get_close_matches(model, prices.models, n=_NEAREST_MAX, cutoff=0.6)
    return tuple(dict.fromkeys([*sorted(same, key=len), *near]))[:_NEAREST_MAX]

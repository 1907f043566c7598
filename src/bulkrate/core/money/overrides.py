"""Prices of one's own: by contract, or for a server of one's own. Reads no settings by itself."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from decimal import Decimal

import msgspec

from bulkrate.errors import ConfigError


class Override(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Dollars per million tokens, by contract or for a server of one's own.

    `batch_discount` is the share that is taken off in a batch: 0.5 is half price. What is left out stays as
    it is in the list.
    """

    input: Decimal | None = None
    output: Decimal | None = None
    cached_input: Decimal | None = None
    batch_input: Decimal | None = None
    batch_output: Decimal | None = None
    batch_discount: Decimal | None = None


def read_overrides(given: Mapping[str, Mapping[str, object]]) -> dict[str, Override]:
    """The overrides in `given`, by model. Raises `ConfigError`, which names the setting."""
    overrides = {}
    for model, told in given.items():
        known = Override.__struct_fields__
        for name in told:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
                raise ConfigError(f"prices of {model!r}: unknown setting {name!r}; {hint}")
        try:
            override = msgspec.convert(dict(told), Override)
        except msgspec.ValidationError as cause:
            raise ConfigError(f"prices of {model!r} do not fit: {cause}") from cause
        for name in known:
            value: Decimal | None = getattr(override, name)
            if value is not None and not (value.is_finite() and value >= 0):
                raise ConfigError(f"prices of {model!r}: {name} is {value}; it is 0 or more, in dollars")
        if override.batch_discount is not None:
            read_discount(override.batch_discount, f"prices of {model!r}")
        overrides[model] = override
    return overrides


def read_discount(given: object, where: str) -> Decimal:
    """The share that is taken off in a batch. Raises `ConfigError` unless it is from 0 to 1."""
    try:
        share = msgspec.convert(given, Decimal)
    except msgspec.ValidationError as cause:
        raise ConfigError(f"{where}: batch_discount is no number: {cause}") from cause
    if not (share.is_finite() and 0 <= share <= 1):
        raise ConfigError(
            f"{where}: batch_discount is {share}; it is a share from 0 to 1, 0.5 for half price"
        )
    return share

"""Dollars and counts in words, for people."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

NOTHING = Decimal(0)
_CENT = Decimal("0.01")


def usd_text(usd: Decimal) -> str:
    """Dollars for people: to the cent, or to two digits where that is finer."""
    if usd:
        usd = usd.quantize(Decimal(1).scaleb(min(-2, usd.adjusted() - 1)), ROUND_HALF_UP).normalize()
    return f"${max(usd, usd.quantize(_CENT), key=_digits):,f}"


def _digits(usd: Decimal) -> int:
    return -int(usd.as_tuple().exponent)


def at_least(usd: Decimal | None, unknown: int) -> str:
    """Dollars, of which so many lines or answers are not a part."""
    if usd is None:
        return "unknown"
    return f"at least {usd_text(usd)}" if unknown else usd_text(usd)


def counted(number: int, noun: str) -> str:
    """So many of a noun, whose plural has an s."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"

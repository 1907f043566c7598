"""Figures, and how they are told: always beside a limit or a peer."""

from __future__ import annotations

from collections.abc import Sequence


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 1, -int(-share * len(ordered) // 1) - 1))]


def tell(what: str, measured: float, unit: str, *, limit: float, also: str = "") -> None:
    """A figure against its limit."""
    ratio = measured / limit
    verdict = "within" if ratio <= 1 else "OVER"
    beside = f" ({also})" if also else ""
    _say(what, measured, unit, f"{ratio:5.2f} of the limit of {limit:g} {unit}: {verdict}{beside}")


def compare(what: str, measured: float, unit: str, *, peer: str, against: float) -> None:
    """A figure against a peer of the same run."""
    _say(what, measured, unit, f"{measured / against:5.2f} of {peer} ({against:,.1f} {unit})")


def aim(what: str, measured: float, unit: str, *, goal: float) -> None:
    """A figure that shall be at least so high."""
    verdict = "reached" if measured >= goal else "NOT reached"
    _say(what, measured, unit, f"{measured / goal:5.2f} of the goal of {goal:,g} {unit}: {verdict}")


def _say(what: str, measured: float, unit: str, ratio: str) -> None:
    print(f"  {what:<38} {measured:>9,.1f} {unit:<7}  {ratio}", flush=True)

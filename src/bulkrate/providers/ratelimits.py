"""What an upstream says about its quotas in the headers of an answer.

Reads OpenAI's `x-ratelimit-*`, which many have copied, and Anthropic's `anthropic-ratelimit-*`. A header that
cannot be understood counts as absent: an odd header never costs an answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# Nobody's quota is larger, and nobody's reset further away; what is beyond is nonsense.
_LIMIT_MAX = 10**12
_RESET_S_MAX = 32 * 86400.0
# A plain number this large is a moment (Unix time), a smaller one a number of seconds.
_MOMENT_MIN = 10**9

_UNITS_S = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)(ms|us|µs|ns|d|h|m|s)")
_DURATION = re.compile(rf"(?:{_PART.pattern}){{1,8}}")

_Get = Callable[[str], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One quota: how much there is of it, how much is left, and the seconds until it is full again."""

    limit: int | None = None
    remaining: int | None = None
    reset_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """The quotas that an answer tells of; None where it tells of none."""

    requests: Limit | None = None
    #: Of all tokens; where input and output are counted apart, of the one with the smaller share left.
    tokens: Limit | None = None


def read_limits(get: _Get) -> RateLimits | None:
    """The quotas in an answer's headers; None when there are none.

    `get` looks one header up by its name in lower case. A reset that is given as a moment is counted from the
    answer's own `date`; without that it is unknown.
    """
    # Nearly all answers have none of these, and each look costs: only the names that each dialect always has.
    if get("x-ratelimit-limit-requests") is not None or get("x-ratelimit-limit-tokens") is not None:
        return _limits(get, "x-ratelimit-{part}-{what}", ("tokens",))
    if get("x-ratelimit-remaining-requests") is not None or get("x-ratelimit-remaining-tokens") is not None:
        return _limits(get, "x-ratelimit-{part}-{what}", ("tokens",))
    if (
        get("anthropic-ratelimit-requests-limit") is not None
        or get("anthropic-ratelimit-tokens-limit") is not None
    ):
        return _limits(get, "anthropic-ratelimit-{what}-{part}", ("tokens", "input-tokens", "output-tokens"))
    if get("anthropic-ratelimit-input-tokens-limit") is not None:
        return _limits(get, "anthropic-ratelimit-{what}-{part}", ("input-tokens", "output-tokens"))
    return None


def _limits(get: _Get, name: str, tokens: tuple[str, ...]) -> RateLimits | None:
    requests = _limit(get, name, "requests")
    told = [limit for what in tokens if (limit := _limit(get, name, what)) is not None]
    if requests is None and not told:
        return None
    return RateLimits(requests=requests, tokens=min(told, key=_share_left, default=None))


def _limit(get: _Get, name: str, what: str) -> Limit | None:
    limit = _count(get(name.format(what=what, part="limit")))
    remaining = _count(get(name.format(what=what, part="remaining")))
    if limit is None and remaining is None:
        return None
    reset = get(name.format(what=what, part="reset"))
    return Limit(limit=limit, remaining=remaining, reset_s=_seconds(reset, get) if reset else None)


def _share_left(limit: Limit) -> float:
    if not limit.limit or limit.remaining is None:
        return 1.0
    return limit.remaining / limit.limit


def _count(text: str | None) -> int | None:
    number = _number(text)
    return None if number is None or number > _LIMIT_MAX else int(number)


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text is not None else -1.0
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


def _seconds(text: str, get: _Get) -> float | None:
    """Seconds until a reset, given as a duration (`6m0s`), a number of seconds, or a moment."""
    text = text.strip()
    number = _number(text)
    if _DURATION.fullmatch(text):
        seconds = sum(float(amount) * _UNITS_S[unit] for amount, unit in _PART.findall(text))
    elif number is not None and number < _MOMENT_MIN:
        seconds = number
    else:
        moment = number if number is not None else _moment(text)
        now = _moment(get("date"))
        if moment is None or now is None:
            return None
        seconds = max(0.0, moment - now)
    return seconds if seconds <= _RESET_S_MAX else None


def _moment(text: str | None) -> float | None:
    """The Unix time of a moment as RFC 3339 or HTTP write it."""
    if text is None:
        return None
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = read(text)
            return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, TypeError, OverflowError):
            continue
    return None

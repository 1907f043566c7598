"""When to try again."""

from __future__ import annotations

from typing import Annotated

import msgspec

from bulkrate.core.outcome import Failed

_Wait = Annotated[float, msgspec.Meta(ge=0, le=1e9)]


class Retry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a line that failed for now is tried again."""

    attempts_max: Annotated[int, msgspec.Meta(ge=1)] = 6
    backoff_s_min: _Wait = 0.5
    backoff_s_max: _Wait = 60.0
    #: A longer `Retry-After` is cut to this, so that a confused upstream cannot park a batch for days.
    retry_after_s_max: _Wait = 3_600.0
    #: While an upstream answers nothing but failures, of ten lines or more, they cost no line anything for so
    #: long: a gateway before a dead server looks like this. Afterwards it is the lines.
    outage_s: _Wait = 60.0


def may_try_again(failed: Failed, attempts: int, retry: Retry) -> bool:
    """Whether a line whose `attempts` so far include this one may have another.

    Only failures that may be the line's own fault are counted; an outage costs no line anything.
    """
    return not failed.failure.costs_attempt or attempts < retry.attempts_max


def wait_s(tries: int, retry: Retry, *, jitter: float, retry_after_s: float | None = None) -> float:
    """Seconds until the next try after `tries` failures. `jitter` is in [0, 1).

    Full jitter: anywhere between nothing and the doubled backoff, so that lines that failed together do not
    return together. An upstream's own `Retry-After` is kept to, and spread by a tenth for the same reason.
    """
    if retry_after_s is not None:
        return min(retry_after_s, retry.retry_after_s_max) * (1 + jitter / 10)
    ceiling = min(retry.backoff_s_min * 2.0 ** min(max(tries, 1), 30), retry.backoff_s_max)
    return ceiling * jitter

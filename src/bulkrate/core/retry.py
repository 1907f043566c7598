"""When to try again."""

from __future__ import annotations

import math
from typing import Annotated

import msgspec

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
    #: Retries go before fresh lines up to this share of what is sent, and ten a second; the others wait
    #: behind them, so that an upstream in trouble is not kept busy with what fails.
    budget: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.2
    #: The share of lines that may be sent a second time, to another upstream that is idle, when the end of a
    #: batch hangs by them. The first answer counts; both may be billed. 0: never.
    hedge: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0


class Budget:
    """How many retries may go before fresh lines: a share of the fresh ones of the last seconds, and some.

    The form is that of Finagle's retry budget: 20 % and ten a second, kept for ten seconds.
    """

    __slots__ = ("_at", "_balance", "_share")

    _PER_S = 10.0
    _KEPT_S = 10.0

    def __init__(self, share: float) -> None:
        self._share = share
        self._balance = self._PER_S
        self._at = 0.0

    def fresh(self) -> None:
        """A line was sent for the first time."""
        self._balance += self._share

    def allows(self, *, now: float) -> bool:
        """Whether a retry may go before fresh lines."""
        past = now - self._at
        if past > 0:
            # What is not used is forgotten within some ten seconds; what flows in meanwhile is not.
            kept = math.exp(-past / self._KEPT_S)
            self._balance = self._balance * kept + self._PER_S * self._KEPT_S * (1 - kept)
            self._at = now
        return self._balance >= 1

    def retried(self) -> None:
        """A retry was sent, before fresh lines or for want of them."""
        self._balance = max(0.0, self._balance - 1)


def may_try_again(attempts: int, retry: Retry) -> bool:
    """Whether a line may have another attempt after so many that count.

    Only failures that may be the line's own fault are counted; an outage costs no line anything.
    """
    return attempts < retry.attempts_max


def wait_s(
    tries: int, retry: Retry, *, jitter: float, retry_after_s: float | None = None, spread: float = 0.1
) -> float:
    """Seconds until the next try after `tries` failures. `jitter` is in [0, 1).

    Full jitter: anywhere between nothing and the doubled backoff, so that lines that failed together do not
    return together. An upstream's own `Retry-After` is kept to, and by the same reason lengthened by up to
    the share `spread`.
    """
    if retry_after_s is not None:
        return min(retry_after_s, retry.retry_after_s_max) * (1 + jitter * spread)
    ceiling = min(retry.backoff_s_min * 2.0 ** min(max(tries, 1), 30), retry.backoff_s_max)
    return ceiling * jitter

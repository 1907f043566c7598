"""How much of an upstream's quota is left: a bucket of requests and a bucket of tokens, as its headers tell
of them.

What is sent is taken out at once, what an answer did not need is put back, and what the upstream says is
believed where the two differ. A refusal stops the whole bucket: whoever else asks would only be refused as
well.
"""

from __future__ import annotations

from bulkrate.providers.ratelimits import Limit, RateLimits

# Quotas are by the minute where nobody says when they are full again.
_PERIOD_S = 60.0
# A bucket that is nearly full says little about how fast it fills.
_TAKEN_SHARE_MIN = 0.05
# After a refusal that does not say how long to wait: this long nothing, and then a slower pace for some
# minutes.
_EPISODE_S = 1.0
_CUT = 0.75
_PACE_MIN = 0.1
_RECOVERY_S = 120.0
# A wait is looked at again after this long, since headers may have said otherwise meanwhile.
_WAIT_S_MAX = 60.0


class _Bucket:
    """Fills steadily up to its limit."""

    __slots__ = ("at", "level", "limit", "out", "rate")

    def __init__(self, limit: float, *, now: float) -> None:
        self.limit = limit
        self.level = limit
        self.rate = limit / _PERIOD_S
        self.at = now
        #: Taken by what has not been answered yet.
        self.out = 0.0

    def fill(self, pace: float, *, now: float) -> None:
        """Bring the level to `now`."""
        if now > self.at:
            self.level = min(self.limit, self.level + (now - self.at) * self.rate * pace)
            self.at = now

    def told(self, limit: Limit) -> None:
        """The upstream told of it. Its word is older than what we have sent since."""
        if limit.limit is not None and limit.limit > 0:
            if limit.limit != self.limit:
                self.rate *= limit.limit / self.limit
            self.limit = float(limit.limit)
        if limit.remaining is None:
            return
        taken = self.limit - limit.remaining
        if limit.reset_s and taken > _TAKEN_SHARE_MIN * self.limit:
            self.rate = taken / limit.reset_s
        self.level = max(limit.remaining - self.out, min(self.level, float(limit.remaining)))

    def wait_s(self, amount: float, pace: float) -> float:
        """Seconds until `amount` is there. What is larger than the bucket waits for a full one."""
        missing = min(amount, self.limit) - self.level
        return missing / (self.rate * pace) if missing > 0 else 0.0


class Quota:
    """The quota of one model at one upstream. Times are seconds of any clock that only goes forward."""

    def __init__(self) -> None:
        self._requests: _Bucket | None = None
        self._tokens: _Bucket | None = None
        self._hold_until = float("-inf")
        self._pace = 1.0
        self._paced_at = float("-inf")
        self._cut_at = float("-inf")
        #: Whether there is anything to keep to.
        self.known = False

    def heard(self, limits: RateLimits, *, now: float) -> None:
        """An answer told of its quotas."""
        self._bring_to(now)
        self._requests = _told(self._requests, limits.requests, now=now)
        self._tokens = _told(self._tokens, limits.tokens, now=now)
        self.known = self.known or self._requests is not None or self._tokens is not None

    def refused(self, retry_after_s: float | None, *, now: float) -> None:
        """An attempt was refused as one too many, with or without a word on when to come back."""
        self._bring_to(now)
        if retry_after_s is not None:
            self._hold_until = max(self._hold_until, now + retry_after_s)
            self.known = True
        elif now - self._cut_at >= _EPISODE_S:
            self._cut_at = now
            self._pace = max(_PACE_MIN, self._pace * _CUT)
            self._hold_until = max(self._hold_until, now + _EPISODE_S)

    def wait_s(self, tokens: int, *, now: float) -> float:
        """Seconds until an attempt of so many tokens may be sent; 0.0 for now."""
        self._bring_to(now)
        wait_s = max(0.0, self._hold_until - now)
        if self._requests is not None:
            wait_s = max(wait_s, self._requests.wait_s(1.0, self._pace))
        if self._tokens is not None:
            wait_s = max(wait_s, self._tokens.wait_s(float(tokens), self._pace))
        return min(wait_s, _WAIT_S_MAX)

    def reserve(self, tokens: int, *, now: float) -> None:
        """An attempt of so many tokens is sent."""
        self._bring_to(now)
        _take(self._requests, 1.0)
        _take(self._tokens, float(tokens))

    def settle(self, reserved: int, used: int, *, now: float) -> None:
        """It ended, and took `used` tokens of those reserved for it."""
        self._bring_to(now)
        if self._requests is not None:
            self._requests.out = max(0.0, self._requests.out - 1.0)
        if self._tokens is not None:
            self._tokens.out = max(0.0, self._tokens.out - reserved)
            self._tokens.level = min(self._tokens.limit, self._tokens.level + reserved - used)

    def _bring_to(self, now: float) -> None:
        for bucket in (self._requests, self._tokens):
            if bucket is not None:
                bucket.fill(self._pace, now=now)
        if self._pace < 1.0 and now > self._paced_at:
            since = now - max(self._paced_at, self._cut_at)
            self._pace = min(1.0, self._pace + since / _RECOVERY_S)
        self._paced_at = now


def _told(bucket: _Bucket | None, limit: Limit | None, *, now: float) -> _Bucket | None:
    if limit is None:
        return bucket
    if bucket is None:
        first = limit.limit or limit.remaining
        if not first:
            return None
        bucket = _Bucket(float(first), now=now)
    bucket.told(limit)
    return bucket


def _take(bucket: _Bucket | None, amount: float) -> None:
    if bucket is not None:
        bucket.level -= amount
        bucket.out += amount

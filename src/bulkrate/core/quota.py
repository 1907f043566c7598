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
_TAKEN_SHARE_MIN = 0.2
# One whose pace seems to change by more than this does not fill, it is replaced.
_DRIFT_MAX = 1.5
# How far, and how quickly, the upstream is believed when it has more left than was thought; and how much less
# than nothing is left when it refuses.
_DOUBT_SHARE = 0.1
_BELIEF = 0.05
_SURPRISE_SHARE = 0.02
# After a refusal that does not say how long to wait: this long nothing, and then a slower pace for some
# minutes.
_EPISODE_S = 1.0
_CUT = 0.75
_PACE_MIN = 0.1
_RECOVERY_S = 120.0
# A wait is looked at again after this long: headers may have said otherwise meanwhile.
_WAIT_S_MAX = 60.0


class _Bucket:
    """Fills steadily up to its limit or, where headers show that it does not, all at once at every reset."""

    def __init__(self, limit: float, *, now: float) -> None:
        self.limit = limit
        self.level = limit
        #: Taken by what has not been answered yet.
        self.out = 0.0
        self._at = now
        self._rate = limit / _PERIOD_S
        self._steady = True
        self._anchor: float | None = None
        self._period_s = 0.0
        self._reset_at = float("-inf")
        self._resets_at = float("inf")

    def fill(self, pace: float, *, now: float) -> None:
        """Bring the level to `now`."""
        if now <= self._at:
            return
        if self._steady:
            self.level = min(self.limit, self.level + (now - self._at) * self._rate * pace)
        elif now >= self._resets_at:
            self.level = self.limit
            self._reset_at, self._resets_at = now, now + max(1.0, self._period_s)
        self._at = now

    def wait_s(self, amount: float, pace: float) -> float:
        """Seconds until `amount` is there. What is larger than the bucket waits for a full one."""
        missing = min(amount, self.limit) - self.level
        if missing <= 0:
            return 0.0
        if self._steady:
            return missing / (self._rate * pace)
        return max(0.0, self._resets_at - self._at)

    def told(self, limit: Limit, *, now: float) -> None:
        """The upstream told of it. Its word is older than what we have sent since."""
        if limit.limit is not None and limit.limit > 0 and limit.limit != self.limit:
            self._rate *= limit.limit / self.limit
            self.limit = float(limit.limit)
            self.level = min(self.level, self.limit)
            self._anchor = None
        if limit.remaining is None or self._is_of_last_period(limit.reset_s, now):
            return
        if limit.reset_s:
            self._learn_pace(self.limit - limit.remaining, limit.reset_s, now)
        self.level = min(self.level, float(limit.remaining))
        # Answers overtake each other, so a word may be far too old to be believed upwards: only slowly,
        # with a margin, and while little is under way.
        doubt = _DOUBT_SHARE * self.limit
        above = limit.remaining - self.out - doubt - self.level
        if self._steady and self.out <= doubt and above > 0:
            self.level += _BELIEF * above

    def emptied(self) -> None:
        """The upstream refused to give any more: there was less than was thought."""
        self.level = min(self.level, 0.0) - _SURPRISE_SHARE * self.limit

    def _learn_pace(self, taken: float, reset_s: float, now: float) -> None:
        """In a bucket that fills steadily what was taken and the time until it is full go together."""
        self._period_s = max(self._period_s, reset_s)
        if taken < _TAKEN_SHARE_MIN * self.limit:
            return
        rate = taken / reset_s
        if self._anchor is None:
            self._anchor = rate
        elif not 1 / _DRIFT_MAX < rate / self._anchor < _DRIFT_MAX:
            self._steady = False
        if self._steady:
            self._rate = rate
        else:
            self._resets_at = min(self._resets_at, now + reset_s)

    def _is_of_last_period(self, reset_s: float | None, now: float) -> bool:
        """Whether this was said before the last reset, and so of the end of a period that is over."""
        if self._steady or reset_s is None:
            return False
        return now - self._reset_at < self._period_s / 2 and reset_s < self._period_s / 2


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
        if now - self._cut_at < _EPISODE_S:
            return
        self._cut_at = now
        buckets = [bucket for bucket in (self._requests, self._tokens) if bucket is not None]
        if buckets:
            min(buckets, key=lambda bucket: bucket.level / bucket.limit).emptied()
        if retry_after_s is None:
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
        """It ended, and took `used` tokens of those reserved, 0 if it was sent before there was a quota."""
        self._bring_to(now)
        if not reserved:
            return
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
    bucket.told(limit, now=now)
    return bucket


def _take(bucket: _Bucket | None, amount: float) -> None:
    if bucket is not None:
        bucket.level -= amount
        bucket.out += amount

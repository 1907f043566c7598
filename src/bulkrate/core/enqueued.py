"""The tokens that may be enqueued at a provider at a time: how many still fit, and for whom.

A provider counts the input tokens of all batches that have not ended, by its own estimate, and refuses a
batch that goes beyond. The limit is known from the settings, from its refusals, or not at all. It is a queue
and not a failure: whoever does not fit waits.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace

# One group takes no more than this share of a quota, so that what ends frees a part of it for whoever waits.
_PART = 4
# After a refusal nothing is tried before something of ours has ended, or this long; others may use the quota
# as well, and providers are slow to release what has ended. Doubled with each refusal in a row.
_WAIT_S_MIN = 60.0
_WAIT_S_MAX = 3_600.0
_REFUSALS_MAX = 16
# With nothing of ours enqueued the quota may be full of somebody else's: so often it is only waited for.
_BELIEVED = 3
# What was learnt is believed for so long; then it is tried whether more fits. Quotas rise with what an
# account has paid, and one refusal a day costs nothing but a little time.
_LESSON_S = 86_400.0
# What was learnt without being told grows by this share whenever a group gets in.
_GROWS = 1.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What is known of one model's quota. Times are Unix seconds.

    `limit` None: no limit is known. `told` when the settings or the provider said it; otherwise it was
    guessed from a refusal. `lines_max` is how many lines a batch may have, once one with more was refused for
    its size. `learnt_at` is when a refusal taught the last of this, None where none did. `why` is what was
    said when nothing was taken, in words for people; nobody remembers it over a restart.
    """

    limit: int | None = None
    told: bool = False
    lines_max: int | None = None
    learnt_at: float | None = None
    refusals: int = 0
    not_before: float = 0.0
    why: str | None = None

    def refused(
        self,
        *,
        enqueued: int,
        asked: int,
        limit: int | None,
        retry_after_s: float | None,
        now: float,
        jitter: float,
        why: str | None = None,
    ) -> Quota:
        """After a refusal of `asked` tokens beside the `enqueued` ones.

        `limit` is what the provider said, if it did, and `why` its own words. `jitter` is in [0, 1).
        """
        wait_s = min(_WAIT_S_MIN * 2 ** min(self.refusals, _REFUSALS_MAX), _WAIT_S_MAX)
        if retry_after_s is not None:
            wait_s = min(retry_after_s, _WAIT_S_MAX)
        not_before = now + wait_s * (1 + jitter / 4)
        waits = replace(self, refusals=self.refusals + 1, not_before=not_before, why=why)
        if limit:  # none at all is no limit, but a way to say no
            return replace(waits, limit=limit, told=True, learnt_at=now)
        if self.told:
            return waits
        if not enqueued and self.refusals < _BELIEVED:
            return waits
        # What was there when more was refused. With nothing there, even the group alone was too much.
        guess = enqueued or max(1, asked // 2)
        least = guess if self.limit is None else min(self.limit, guess)
        return replace(waits, limit=least, learnt_at=now)

    def too_large(self, *, lines: int, now: float) -> Quota:
        """After a batch of so many lines was refused for its size: the next have half."""
        return replace(self, lines_max=max(1, lines // 2), learnt_at=now)

    def recalled(self, given: Quota, *, now: float) -> Quota:
        """What still holds of it; `given` is what is known without a refusal.

        A limit of the settings is never exceeded, whatever was learnt. What was learnt too long ago is
        forgotten, and no wait is longer than any that is begun now, should the clock have been wrong.
        """
        not_before = min(self.not_before, now + _WAIT_S_MAX * 1.25)
        if self.learnt_at is None or abs(now - self.learnt_at) > _LESSON_S:
            return replace(given, refusals=self.refusals, not_before=not_before, why=self.why)
        if self.limit is None or (given.told and given.limit is not None and self.limit > given.limit):
            return replace(self, limit=given.limit, told=given.told, not_before=not_before)
        return replace(self, not_before=not_before)

    def accepted(self, *, enqueued: int) -> Quota:
        """After a group got in, with so many tokens enqueued now."""
        limit = self.limit
        if limit is not None and not self.told:
            limit = max(int(limit * _GROWS), enqueued)
        return replace(self, limit=limit, refusals=0, not_before=0.0, why=None)

    def held(self, *, now: float, why: str) -> Quota:
        """After a refusal that is not about tokens, and that somebody has to do something about."""
        return replace(self, not_before=now + _WAIT_S_MIN, why=why)

    def released(self) -> Quota:
        """After something of ours ended: there may be room at once."""
        return replace(self, not_before=0.0)


@dataclass(frozen=True, slots=True)
class Portion:
    """How many tokens a batch may enqueue now: None without limit, 0 not now, and then why, in words.

    `alone` is how many a line may have that goes alone.
    """

    tokens: int | None
    alone: int | None = None
    why: str | None = None


def portion(
    quota: Quota, batch: str, *, enqueued: Mapping[str, int], waiting: Set[str], model: str, now: float
) -> Portion:
    """What `batch` may enqueue now.

    `enqueued` are the tokens of each batch that are there, `waiting` are the batches that have more lines for
    the model. Each gets the same share of the quota, and no group more than a quarter of one that we were
    told; what is left of it is not handed out in crumbs.
    """
    if now < quota.not_before:
        why = quota.why.rstrip(" .") if quota.why else "it took no more"
        return Portion(0, why=f"{why}; it is asked again in {_in_words(quota.not_before - now)}")
    if quota.limit is None:
        return Portion(None)
    there = sum(enqueued.values())
    share = max(1, quota.limit // len({*enqueued, *waiting, batch}))
    part = max(1, quota.limit // _PART) if quota.told else quota.limit
    free = quota.limit - there
    tokens = min(free, share - enqueued.get(batch, 0), part)
    if there == 0:
        return Portion(max(1, tokens))
    if tokens > 0 and 2 * tokens >= min(part, share):
        return Portion(tokens, alone=free)
    return Portion(0, why=f"{there:,} of {quota.limit:,} tokens are enqueued for {model}")


def _in_words(seconds: float) -> str:
    return f"{round(seconds)} s" if seconds < 120 else f"{round(seconds / 60)} min"

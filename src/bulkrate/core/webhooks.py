"""When a webhook is sent again, and when it is given up."""

from __future__ import annotations

BACKOFF_S_MIN = 5.0
BACKOFF_S_MAX = 4 * 3600.0
#: As long as OpenAI keeps trying: a receiver may be down for a weekend.
GIVE_UP_AFTER_S = 72 * 3600.0
# 5 s doubled twelve times is beyond the longest wait; more would only make big numbers.
_DOUBLINGS_MAX = 12


def backoff_s(attempt: int, *, jitter: float) -> float:
    """Seconds to wait after try number `attempt`, counted from 1, has failed. `jitter` is in [0, 1).

    Full jitter: anywhere between nothing and the doubled back-off, so that events which failed together do
    not come back to their receiver together.
    """
    doublings = min(attempt - 1, _DOUBLINGS_MAX)
    return min(BACKOFF_S_MIN * float(2**doublings), BACKOFF_S_MAX) * jitter


def retry_at(attempt: int, *, created_at: float, now: float, jitter: float) -> float | None:
    """The moment to try again after `attempt` has failed, or None to give up on an event of `created_at`."""
    when = now + backoff_s(attempt, jitter=jitter)
    return when if when <= created_at + GIVE_UP_AFTER_S else None

"""What an attempt at a line came to."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

import msgspec

from bulkrate.providers.ratelimits import RateLimits
from bulkrate.providers.usage import NO_USAGE, Usage


class Failure(Enum):
    """Why an attempt brought no final answer.

    Each knows what it says about the line and about the upstream, so that no caller keeps a list of its own:

    - `costs_attempt`: the line may be at fault; only so many of these and it is given up.
    - `upstream_is_out`: the upstream as a whole cannot work now; pause it, not the line.
    - `is_fall`: attempts end like this when their upstream dies.
    """

    #: No connection could be made. Nothing was sent.
    UNREACHABLE = ("unreachable", False, True, False)
    #: 401, 402, 403 on everything, or no quota left: our key or the account behind it is not accepted.
    KEY_REFUSED = ("key_refused", False, True, False)
    #: 429 or 503: come back later.
    BUSY = ("busy", False, False, False)
    #: 408, 409, 425, 499, or a 5xx other than 503.
    ERROR = ("upstream_error", True, False, True)
    #: No answer within the time-out.
    TIMED_OUT = ("request_timeout", True, False, False)
    #: The connection broke after the request was sent.
    LOST = ("connection_lost", True, False, True)
    #: A 2xx whose body is cut off or is not JSON.
    GARBLED = ("invalid_answer", True, False, True)
    #: The upstream dies whenever it is sent this line.
    CRASHES = ("upstream_crash", True, False, False)

    def __init__(self, code: str, costs_attempt: bool, upstream_is_out: bool, is_fall: bool) -> None:
        #: The `error.code` of a line that is given up for this.
        self.code = code
        self.costs_attempt = costs_attempt
        self.upstream_is_out = upstream_is_out
        self.is_fall = is_fall

    def holds_upstream(self, retry_after_s: float | None) -> bool:
        """Whether no line shall be sent for a while, and this one then as soon as any other.

        A `Retry-After` with a failure that may be the line's own is kept to by that line alone.
        """
        return self.upstream_is_out or (retry_after_s is not None and not self.costs_attempt)


# Structs of msgspec and not dataclasses: one of each is made per line, and a frozen dataclass takes five
# times as long to make.
class Answer(msgspec.Struct, frozen=True, gc=False):
    """What the upstream sent: body bytes as they came. `retry_after_s` is None when it gave no hint, `limits`
    when it told of no quotas.
    """

    status: int
    body: bytes
    request_id: str | None = None
    retry_after_s: float | None = None
    limits: RateLimits | None = None


class Answered(msgspec.Struct, frozen=True, gc=False):
    """The upstream answered with 2xx."""

    answer: Answer
    usage: Usage = NO_USAGE


class Refused(msgspec.Struct, frozen=True, gc=False):
    """The upstream refused the line for good."""

    answer: Answer


class Failed(msgspec.Struct, frozen=True, gc=False):
    """The attempt failed for now.

    `answer` is what the upstream said, if it said something; `detail` is in our words. `unanswered`: the
    connection broke before a byte of the answer came.
    """

    failure: Failure
    detail: str
    answer: Answer | None = None
    retry_after_s: float | None = None
    unanswered: bool = False


Outcome = Answered | Refused | Failed

_FOR_NOW = {408, 409, 425, 499}
_BUSY = {429, 503}
# An error body has its code within this.
_ERROR_BYTES = 4_096


def judge(answer: Answer, usage_of: Callable[[bytes], Usage]) -> Outcome:  # noqa: PLR0911  # one way out per case
    """What an HTTP answer means for its line.

    `usage_of` reads the usage of a body and raises ValueError if it is not JSON.
    """
    status = answer.status
    if 200 <= status < 300:
        try:
            return Answered(answer, usage_of(answer.body))
        except ValueError as cause:
            detail = f"the upstream answered {status} with what is not JSON: {cause}"
            if answer.body.startswith((b"data:", b"event:")):
                detail = f'the upstream answered {status} with a stream; put "stream": false into the body'
            return Failed(Failure.GARBLED, detail, answer)
    if status == 402:
        return Failed(Failure.KEY_REFUSED, "the account behind our key is out of money (402)", answer)
    if status == 401:
        return Failed(Failure.KEY_REFUSED, "the upstream does not accept our key (401)", answer)
    if status == 429 and b"insufficient_quota" in answer.body[:_ERROR_BYTES]:
        return Failed(Failure.KEY_REFUSED, "the account behind our key has no quota left (429)", answer)
    if status in _BUSY:
        return Failed(Failure.BUSY, f"the upstream is busy ({status})", answer, answer.retry_after_s)
    if status in _FOR_NOW or status >= 500:
        return Failed(Failure.ERROR, f"the upstream answered {status}", answer, answer.retry_after_s)
    return Refused(answer)

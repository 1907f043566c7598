"""Makes the faults: those a request asked for, and those that just happen (`error_rate`).

It never waits and never decides what a good answer is; it fails a call, or dresses up a good answer.
"""

import os
import signal
from collections import Counter

import msgspec
from msgspec import json

from bulkrate.sandbox.asgi import Header, Reply
from bulkrate.sandbox.dice import Dice
from bulkrate.sandbox.directives import Directives, Failure
from bulkrate.sandbox.refusals import RefusalError, asked_for

_WITHHELD = 64  # bytes a truncated answer promises beyond what it sends
_PAGE = (
    "<!doctype html>\n<html><head><title>{0}</title></head>"
    "<body><h1>{0}</h1><p>sandbox: a proxy's error page, asked for by a directive</p></body></html>\n"
)


class FailedSoFar:
    """Counts calls per body, for `fail_first`. Kept for the life of the process, for those bodies only."""

    def __init__(self) -> None:
        self._calls: Counter[bytes] = Counter()

    def fails(self, asked: Directives, digest: bytes) -> bool:
        if asked.failure is None:
            return False
        if asked.fail_first is None:
            return True
        self._calls[digest] += 1
        return self._calls[digest] <= asked.fail_first


class Mishaps:
    """`error_rate`: which calls fail for no reason, drawn from the seed and the number of the call."""

    def __init__(self, seed: int, rate: float) -> None:
        self._dice = Dice.of(seed, b"mishap")
        self._rate = rate

    def check(self, call: int) -> None:
        if self._rate and self._dice.share(str(call)) < self._rate:
            raise RefusalError(500, "this call failed by chance, as error_rate asks; another try may succeed")


def failed(asked: Directives, answer: bytes) -> Reply | None:  # noqa: PLR0911  # one way out per failure
    """The failure asked for; None closes the connection without an answer. Does not return from a crash."""
    match asked.failure:
        case Failure.CRASH:
            os.kill(os.getpid(), signal.SIGKILL)
            return None
        case Failure.DROP:
            return None
        case Failure.TRUNCATE:
            return Reply(200, answer[: len(answer) // 2], withheld=_WITHHELD + (len(answer) + 1) // 2)
        case Failure.RESET:
            return Reply(200, answer[: len(answer) // 2], withheld=(len(answer) + 1) // 2, reset=True)
        case Failure.SLOW:
            return msgspec.structs.replace(dressed(asked, answer), over_ms=asked.slow_ms)
        case Failure.GARBAGE:
            return Reply(200, b"sandbox: this is {not JSON, because a directive asked for it\n")
        case Failure.HTML:
            page = _PAGE.format(asked.status).encode()
            return Reply(asked.status, page, _retry_after(asked), b"text/html; charset=utf-8")
        case _:
            return asked_for(asked.status, _retry_after(asked)).reply()


def dressed(asked: Directives, answer: bytes) -> Reply:
    """The good answer, as big and as pretty as asked, and the last on its connection if that was asked."""
    if asked.pretty:
        answer = json.format(answer, indent=2)
    if asked.size:
        answer = _padded(answer, asked.size)
    return Reply(200, answer, close=asked.close)


def _padded(answer: bytes, size: int) -> bytes:
    """Exactly `size` bytes, by one more field at the end of the object; never less than the answer needs."""
    opening, closing = b',"sandbox_padding":"', b'"}'
    filler = size - (len(answer) - 1) - len(opening) - len(closing)
    return answer[:-1] + opening + b"." * max(0, filler) + closing


def _retry_after(asked: Directives) -> tuple[Header, ...]:
    return () if asked.retry_after is None else ((b"retry-after", b"%d" % asked.retry_after),)

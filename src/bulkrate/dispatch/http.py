"""The seam to HTTP: what a request brings back, and in which words it fails.

Whoever sends requests is behind `Http`; no exception of a library crosses it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from bulkrate.core.outcome import Failed, Failure


class AttemptError(Exception):
    """No HTTP answer came; `failed` says why."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.detail)
        self.failed = failed


class Reply(msgspec.Struct, frozen=True, gc=False):
    """What a server answered. `header` looks up a name in lower case."""

    status: int
    content: bytes
    header: Callable[[str], str | None]


class Http(Protocol):
    """Sends requests to one server. All raise `AttemptError`, and none follows a redirect."""

    async def post(self, url: str, body: bytes, headers: Mapping[str, str] | None = None) -> Reply:
        """The answer to `body`; `headers` are for this request alone."""

    async def get(self, url: str, *, timeout_s: float) -> Reply:
        """The answer to a question, within `timeout_s`."""

    async def close(self) -> None:
        """Close every connection."""


def unreachable(address: str, why: str = "") -> AttemptError:
    """No connection could be made to `address`, which holds no secret."""
    return AttemptError(Failed(Failure.UNREACHABLE, f"no connection to {address}" + (why and f": {why}")))


def timed_out(timeout_s: float) -> AttemptError:
    """No whole answer came in time."""
    return AttemptError(Failed(Failure.TIMED_OUT, f"no answer within {timeout_s:g} s"))


def lost(why: str, *, unanswered: bool) -> AttemptError:
    """The connection broke; `unanswered` before a byte of the answer came."""
    detail = f"the connection was lost before the whole answer came ({why})"
    return AttemptError(Failed(Failure.LOST, detail, unanswered=unanswered))


def too_long(bytes_max: int) -> AttemptError:
    """There is more of the answer than is taken."""
    detail = f"the answer is longer than {bytes_max} bytes (limits.answer_bytes_max)"
    return AttemptError(Failed(Failure.GARBLED, detail))

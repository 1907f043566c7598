"""Standard error that nobody waits for.

A log whose reader stands still, a terminal stopped with Ctrl-S or a collector that hangs, would stop every
process that has something to say. What is not taken is kept, up to a bound, and written when it is read on.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import TextIO

#: Lines that are kept while nobody reads; further ones are counted and lost.
KEPT_LINES_MAX = 1_000
# Where poll says that a pipe takes something, it takes so much without waiting (PIPE_BUF of Linux).
_PIECE_CHARS = 1_024
# How long the last lines of a process are offered.
_LAST_MS = 1_000


class Unwaited:
    """A stream for log handlers, over another.

    `on_lost` is called with a number of lines when, after some were lost, there is room again.
    """

    def __init__(self, stream: TextIO, on_lost: Callable[[int], None]) -> None:
        self._stream = stream
        self._on_lost = on_lost
        self._kept: deque[str] = deque()
        self._lost = 0
        self._lock = threading.RLock()
        self._poll = _poll_of(stream)
        atexit.register(self._end)

    def write(self, text: str) -> None:
        """Write what is taken at once, all that was kept first."""
        with self._lock:
            if len(self._kept) < KEPT_LINES_MAX:
                self._kept.append(text)
            else:
                self._lost += 1
            self._pass_on(wait_ms=0)
            if self._lost and not self._kept:
                lost, self._lost = self._lost, 0
                self._on_lost(lost)

    def flush(self) -> None:
        """Nothing to do: what was written was flushed, what was kept has to wait."""

    def _pass_on(self, wait_ms: int) -> None:
        while self._kept and self._is_ready(wait_ms):
            text = self._kept.popleft()
            if len(text) > _PIECE_CHARS:
                self._kept.appendleft(text[_PIECE_CHARS:])
            self._stream.write(text[:_PIECE_CHARS])
            self._stream.flush()

    def _is_ready(self, wait_ms: int) -> bool:
        return self._poll is None or bool(self._poll.poll(wait_ms))

    def _end(self) -> None:
        # The reader may have gone, or the stream be closed.
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._pass_on(_LAST_MS)


def _poll_of(stream: TextIO) -> select.poll | None:
    """What tells whether a stream takes something now; None for one that is no file, and always does."""
    try:
        descriptor = stream.fileno()
    except io.UnsupportedOperation:
        return None
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return poll

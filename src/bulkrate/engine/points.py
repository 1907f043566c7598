"""Named points at which a process can be made to die, so that tests can show that it may.

    BULKRATE_DIE_AT="commit.written:3"    die by SIGKILL when this point is reached for the third time

Without the variable, reaching a point costs one look into an empty mapping.
"""

from __future__ import annotations

import os
import signal

#: Every point, and what is true when it is reached.
POINTS = {
    "upload.received": "All bytes of a file have come; it is not kept.",
    "upload.kept": "The bytes of a file are durable; no record names them.",
    "admit.reading": "The input was read in part; the plan is half written.",
    "admit.planned": "The plan is durable; no record names it.",
    "admit.admitted": "The batch is in progress; no sender knows.",
    "send.claimed": "Shards are claimed; nothing was sent.",
    "commit.gathered": "Answers are in memory alone.",
    "commit.written": "Answers are durable in the log; they do not count yet.",
    "commit.counted": "Answers count; the sender has not heard.",
    "finish.moved": "No line will be sent any more; the last account is not begun.",
    "finish.telling": "Some of the lines that never ran have been told of.",
    "finish.told": "Every line is accounted for; the files have not appeared.",
    "finish.closed": "The batch has ended; nobody has been told.",
}

_VARIABLE = "BULKRATE_DIE_AT"


def _armed() -> dict[str, int]:
    name, _, count = os.environ.get(_VARIABLE, "").partition(":")
    return {name: int(count or 1)} if name else {}


_left = _armed()


def reach(point: str) -> None:
    """Die here, if this is the point and the time to die."""
    if point in _left:
        _left[point] -= 1
        if _left[point] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

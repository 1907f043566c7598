"""Named points at which a process can be made to die, so that tests can show that it may.

    BULKRATE_DIE_AT="commit.written:3"          die by SIGKILL when this point is reached for the third time
    BULKRATE_DIE_AT="commit.written:3:FILE"     the same, and make FILE; while there is a FILE nobody dies

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


def _armed() -> tuple[dict[str, int], str | None]:
    name, _, rest = os.environ.get(_VARIABLE, "").partition(":")
    count, _, once = rest.partition(":")
    return ({name: int(count or 1)} if name else {}), once or None


_left, _once = _armed()


def reach(point: str) -> None:
    """Die here, if this is the point and the time to die."""
    if point in _left:
        _left[point] -= 1
        if _left[point] == 0 and _first_to_die():
            os.kill(os.getpid(), signal.SIGKILL)


def _first_to_die() -> bool:
    """Whether nobody died before us, where only one shall: a child that is started again goes on."""
    if _once is None:
        return True
    try:
        os.close(os.open(_once, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True

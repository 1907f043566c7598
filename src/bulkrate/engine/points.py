"""Named points at which a process can be made to die, so that tests can show that it may.

    BULKRATE_DIE_AT="commit.written:3"          die by SIGKILL when this point is reached for the third time
    BULKRATE_DIE_AT="commit.written:3:FILE"     the same, and make FILE; while there is a FILE nobody dies

Several, with commas between them, are several deaths.

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
    "delegate.written": "A group's content is durable; no record names it.",
    "delegate.intended": "The intent of a remote batch is recorded; the provider has heard nothing.",
    "delegate.uploaded": "The provider has the content; that is not recorded.",
    "delegate.asked": "It is recorded that a remote batch may be created; it is not.",
    "delegate.created": "The remote batch exists; that is not recorded.",
    "delegate.ended": "The remote batch has ended; nothing of it is read.",
    "delegate.collecting": "Some of its results count.",
    "delegate.counted": "All of its results count; it is not recorded as collected.",
    "delegate.collected": "It is collected; its files are still at the provider.",
    "delegate.removed": "Its files are removed; that is not recorded.",
    "job.read": "A job's rows are kept; that is not recorded.",
    "job.prepared": "The requests of a round are in files; no record names them.",
    "job.uploaded": "The server has a part's requests; that is not recorded.",
    "job.created": "The part's batch exists; that is not recorded.",
    "job.gathered": "Results are in the log of the job; they do not count yet.",
    "job.collected": "All results of a part count; it is not recorded as collected.",
    "job.answered": "A round is over; that is not recorded.",
    "job.written": "The result is in its place; that is not recorded.",
}

_VARIABLE = "BULKRATE_DIE_AT"


def _armed() -> dict[str, tuple[int, str]]:
    """Per point: how many passes are left, and the file that says that somebody died there already."""
    armed = {}
    for part in filter(None, os.environ.get(_VARIABLE, "").split(",")):
        name, _, rest = part.partition(":")
        count, _, once = rest.partition(":")
        armed[name] = (int(count or 1), once)
    return armed


_left = _armed()


def reach(point: str) -> None:
    """Die here, if this is the point and the time to die."""
    if point in _left:
        passes, once = _left[point]
        _left[point] = (passes - 1, once)
        if passes == 1 and _is_first_at(once):
            os.kill(os.getpid(), signal.SIGKILL)


def _is_first_at(once: str) -> bool:
    if not once:
        return True
    try:
        os.close(os.open(once, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True

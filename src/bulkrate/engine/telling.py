"""A process tells its numbers, on the board, about once a second.

The successor of a process that died counts on from what that told last, and what was counted at an upstream
stays when another process drives it: no counter ever goes back.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping

from bulkrate.core.stats import CommitSnapshot, ProcessSnapshot, RemoteSnapshot, UpstreamSnapshot, at_rest
from bulkrate.engine.board import Board
from bulkrate.engine.context import Context

#: How often numbers are told when nothing important happens.
TELL_S = 1.0
#: A process that told nothing for so long is not at work.
SILENT_S = 5.0
#: And so long is too long, even for one that is starting on a busy machine.
SILENT_S_MAX = 2 * SILENT_S


class Teller:
    """What one process has to tell."""

    def __init__(self, context: Context, role: str) -> None:
        self._context = context
        self._role = role
        self._started_at = context.clock()
        before = context.board.shown(role)
        self._cpu_before_s = before.cpu_s if before else 0.0
        self._counted = before.upstreams if before else {}
        #: What the process that had the role before had committed, to count on from.
        self.commits_before = before.commits if before else None

    def before(self, upstream: str) -> UpstreamSnapshot | None:
        """What was counted at an upstream under this role, to count on from."""
        return self._counted.get(upstream)

    def tell(
        self,
        upstreams: Mapping[str, UpstreamSnapshot] | None = None,
        commits: CommitSnapshot | None = None,
        remotes: Mapping[str, RemoteSnapshot] | None = None,
    ) -> None:
        """Tell now. What was counted at upstreams that are not among these any more is told on."""
        rested = {name: at_rest(snapshot) for name, snapshot in self._counted.items()}
        self._counted = rested | dict(upstreams or {})
        self._context.board.show(
            self._role,
            of_this_process(
                started_at=self._started_at,
                told_at=self._context.clock(),
                cpu_before_s=self._cpu_before_s,
                upstreams=self._counted,
                commits=commits,
                remotes=dict(remotes or {}),
            ),
        )

    async def keep_telling(
        self,
        upstreams: Callable[[], Mapping[str, UpstreamSnapshot]],
        commits: Callable[[], CommitSnapshot | None],
        remotes: Callable[[], Mapping[str, RemoteSnapshot]] = dict,
    ) -> None:
        """Tell once a second, until cancelled."""
        while True:
            self.tell(upstreams(), commits(), remotes())
            await asyncio.sleep(TELL_S)


def silent(board: Board, *, since: float, now: float) -> dict[str, str]:
    """Which roles have told nothing for too long, in words; `since` is when the first could have."""
    told = {role: shown.told_at if (shown := board.shown(role)) else since for role in board.roles}
    return {
        role: f"it has told nothing for {now - heard:.0f} s; the log may say why"
        for role, heard in told.items()
        if now - heard > SILENT_S_MAX
    }


def of_this_process(
    *,
    started_at: float,
    told_at: float,
    cpu_before_s: float = 0.0,
    upstreams: dict[str, UpstreamSnapshot] | None = None,
    commits: CommitSnapshot | None = None,
    remotes: dict[str, RemoteSnapshot] | None = None,
) -> ProcessSnapshot:
    """The numbers of this process."""
    return ProcessSnapshot(
        pid=os.getpid(),
        started_at=started_at,
        told_at=told_at,
        cpu_s=cpu_before_s + time.process_time(),
        memory_bytes=_memory_bytes(),
        upstreams=upstreams or {},
        commits=commits,
        remotes=remotes or {},
    )


def _memory_bytes() -> int:
    """What this process holds in memory; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123  # read once a second
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0

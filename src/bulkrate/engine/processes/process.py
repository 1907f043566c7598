"""The processes beside the one that serves HTTP: one clerk, senders, and one for delegated upstreams.

    python -m bulkrate.engine.processes.process ROLE FD,FD,…

The settings come as one line of JSON on standard input, so that no secret shows in a process list, and when
it is time to begin: until then the process loads what it needs. Standard input then stays open as a lifeline:
at its end the parent has died, and so does the child, at once and without cleaning up. That is no different
from a power cut, which the engine survives anyway.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import BinaryIO, Protocol

import msgspec
import uvloop

from bulkrate.config import Settings
from bulkrate.engine.bell import Bell, Bells, Waiter
from bulkrate.engine.board import Board
from bulkrate.engine.context import Context, close_context, open_context
from bulkrate.engine.roles import CLERK, DELEGATE, roles_of, sender_number
from bulkrate.errors import Fenced
from bulkrate.telemetry import log_event, log_to_stderr, traces

#: The process found that it was declared dead; its successor is at work already.
EXIT_FENCED = 75


class Worker(Protocol):
    """What a process does from its enlistment to its end."""

    async def run(self, waiter: Waiter) -> None:
        """Work until stopped. Raises `Fenced`."""

    def stop(self) -> None:
        """Begin to end."""


def main(role: str, descriptors: str, lifeline: BinaryIO) -> int:
    """Run a role until SIGTERM or the end of the lifeline; the exit code."""
    worker_of = _load(role)
    line = lifeline.readline()
    if not line:
        return 0  # the parent died before it had work for us
    settings = msgspec.json.decode(line, type=Settings)
    threading.Thread(target=_die_with_parent, args=(lifeline,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    log_to_stderr(role, settings.log_format)
    traces.start(role, settings.traces.endpoint, settings.traces.attempts_share)
    *pipes, board = (int(fd) for fd in descriptors.split(","))
    context = open_context(
        settings, bells=Bells.inherited(tuple(pipes)), board=Board(board, roles_of(settings))
    )
    try:
        uvloop.run(_run(role, context, worker_of))
    except* Fenced as fenced:
        log_event(logging.ERROR, "worker_fenced", reason=str(fenced.exceptions[0]))
        os._exit(EXIT_FENCED)  # what is still in flight must not be waited for: it counts for nothing
    close_context(context)
    traces.stop()
    return 0


def _load(role: str) -> Callable[[Context, int], Worker]:
    """Load what a role needs and no more: a start takes longest for that. How to make its worker."""
    if role == CLERK:
        from bulkrate.engine.loops.clerk import Clerk  # noqa: PLC0415

        return Clerk
    if role == DELEGATE:
        from bulkrate.engine.delegate.worker import Delegate  # noqa: PLC0415

        return Delegate
    from bulkrate.engine.loops.send import Sender  # noqa: PLC0415

    return lambda context, epoch: Sender(context, epoch, role)


def _bell(role: str, bells: Bells) -> Bell:
    if role == CLERK:
        return bells.clerk
    return bells.senders[-1 if role == DELEGATE else sender_number(role)]


async def _run(role: str, context: Context, worker_of: Callable[[Context, int], Worker]) -> None:
    timing = context.settings.timing
    context.board.say(role, None)
    epoch = context.store.work.enlist(role, now=context.clock(), lease_s=timing.lease_s)
    worker = worker_of(context, epoch)
    waiter = Waiter(_bell(role, context.bells))
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, worker.stop)
    await worker.run(waiter)


def _die_with_parent(lifeline: BinaryIO) -> None:
    # Straight from the descriptor: an interpreter that ends while a thread sits in a buffered read aborts.
    while os.read(lifeline.fileno(), 1):
        pass
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.stdin.buffer))

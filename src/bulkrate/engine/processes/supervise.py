"""Keeping the clerk and the senders alive, as children of the process that serves HTTP.

The senders are started before this process has loaded what it needs itself, so that they load side by side;
they begin to work when they are handed the settings. The others come when the senders are at work: nobody
waits for them so much, and all would load more slowly side by side.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import sys
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from bulkrate.config import Settings
from bulkrate.engine import paths
from bulkrate.engine.bell import Bells
from bulkrate.engine.board import Board
from bulkrate.engine.roles import CLERK, DELEGATE, roles_of, sender_roles, worker_roles
from bulkrate.errors import StoreError
from bulkrate.telemetry import log_event

if TYPE_CHECKING:
    from bulkrate.engine.context import Context

_KEYS_AT_ONCE = 500
_RESTART_S_MIN = 0.1
# A batch resumes within 5 s even if the last process died young: this, and a second to start.
_RESTART_S_MAX = 3.0
_LONG_LIFE_S = 10.0
# How long the senders are waited for before the others are started, and how often they are looked for.
_FIRST_S_MAX = 2.0
_FIRST_LOOK_S = 0.05
# Beyond the sender's own grace: its last commit, and the end of its interpreter.
_STOP_S_MORE = 10.0


def start_afresh(context: Context) -> None:
    """Whoever worked in this folder before is dead, since we own it now: free what they held, remove their
    scraps.
    """
    context.store.work.bury_all()
    context.store.upstreams.forget_all()
    context.blobs.clean()
    for folder in (paths.FILES, paths.PARTS):
        keys = context.blobs.keys(folder)
        while group := list(islice(keys, _KEYS_AT_ONCE)):
            for orphan in context.store.files.unknown(group):
                context.blobs.delete(orphan)  # kept by an upload that died before it was recorded


class Children:
    """The processes beside this one, from their start to their end."""

    def __init__(self, settings: Settings) -> None:
        self.bells = Bells.new(len(worker_roles(settings)))
        self.board = Board.new(roles_of(settings))
        self._keepers = [_Keeper(role, settings, self.bells, self.board) for role in roles_of(settings)]
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start the senders. They load what they need, and wait."""
        _allow_many_files()
        for keeper in self._keepers:
            if keeper.role not in {CLERK, DELEGATE}:
                await keeper.start()

    def begin(self, context: Context) -> None:
        """Let all of them work, and start them again whenever they die. The folder is ours and in order."""
        self._tasks = [asyncio.create_task(keeper.keep(context)) for keeper in self._keepers]

    async def stop(self) -> None:
        """Stop them gracefully."""
        await asyncio.gather(*(keeper.stop() for keeper in self._keepers))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _allow_many_files() -> None:
    """Connections are files, of callers here and to upstreams there: raise our soft limit to the hard one.

    The children inherit it. Most systems begin with 1,024.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else 1 << 20
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _Keeper:
    """Starts one role, and starts it again whenever it dies."""

    def __init__(self, role: str, settings: Settings, bells: Bells, board: Board) -> None:
        self.role = role
        self._settings = settings
        self._bells = bells
        self._board = board
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False

    async def start(self) -> None:
        """Start the process, unless it is to end; a failure is told, and the next life may do better."""
        if self._stopping:
            return
        descriptors = (*self._bells.descriptors(), self._board.fd)
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "bulkrate.engine.processes.process",
                self.role,
                ",".join(map(str, descriptors)),
                stdin=asyncio.subprocess.PIPE,
                pass_fds=descriptors,
            )
        except OSError as error:
            self._not_started(error)

    async def keep(self, context: Context) -> None:
        """See the process through its lives; the first may have been started already."""
        wait_s = _RESTART_S_MIN
        if self._process is None:
            await self._let_senders_begin(context)
            await self.start()
        loop = asyncio.get_running_loop()
        while not self._stopping:
            began = loop.time()
            if self._process is not None:
                code = await self._see_through(self._process)
                if self._stopping:
                    return
                log_event(logging.ERROR, "process_died", role=self.role, exit_code=code)
                # Its successor takes that back; one that dies again and again is seen so.
                self._board.say(
                    self.role, f"it ended (exit code {code}) and is started again; the log says why"
                )
                self._process = None
                await self._bury(context)
            await asyncio.sleep(wait_s)
            lived_s = loop.time() - began
            wait_s = _RESTART_S_MIN if lived_s > _LONG_LIFE_S else min(wait_s * 2, _RESTART_S_MAX)
            if await self._bury(context):
                await self.start()

    async def _let_senders_begin(self, context: Context) -> None:
        roles = sender_roles(self._settings)
        with contextlib.suppress(TimeoutError, StoreError):
            async with asyncio.timeout(_FIRST_S_MAX):
                while await context.ask(context.store.work.living, roles) < len(roles):
                    await asyncio.sleep(_FIRST_LOOK_S)

    async def stop(self) -> None:
        """Ask it to end, and make it end if it does not."""
        self._stopping = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(self._settings.timing.grace_s + _STOP_S_MORE):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _see_through(self, process: asyncio.subprocess.Process) -> int:
        """Hand over the settings, and wait for the end; the exit code."""
        log_event(logging.INFO, "process_started", role=self.role, pid=process.pid)
        assert process.stdin is not None  # noqa: S101  # it was asked for
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            process.stdin.write(msgspec.json.encode(self._settings) + b"\n")
            await process.stdin.drain()
        return await process.wait()

    async def _bury(self, context: Context) -> bool:
        """Whoever had the role is dead: what it held is free, and the others are told.

        False when the store fails; then a successor has to wait, or two would have the role.
        """
        try:
            await context.ask(context.store.work.bury_role, self.role)
        except StoreError as error:
            self._not_started(error)
            return False
        self._bells.ring_senders()
        return True

    def _not_started(self, error: Exception) -> None:
        log_event(logging.ERROR, "process_not_started", role=self.role, reason=str(error))
        self._board.say(self.role, f"it could not be started: {error}")

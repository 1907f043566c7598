"""Keeping the clerk and the sender alive, as children of the process that serves HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import islice
from pathlib import Path

import msgspec

from bulkrate.engine import paths
from bulkrate.engine.context import Context
from bulkrate.engine.loops import clerk, send
from bulkrate.errors import ConfigError, StoreError
from bulkrate.telemetry import log_event

_ROLES = (clerk.ROLE, send.ROLE)
_KEYS_AT_ONCE = 500
_RESTART_S_MIN = 0.1
# A batch resumes within 5 s even if the last process died young: this, and a second to start.
_RESTART_S_MAX = 3.0
_LONG_LIFE_S = 10.0
# Beyond the sender's own grace: its last commit, and the end of its interpreter.
_STOP_S_MORE = 10.0


@contextmanager
def owned(data: Path) -> Iterator[None]:
    """Own a data folder: two servers on one folder would each think the other dead. Raises `ConfigError`."""
    with (data / "lock").open("a+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            raise ConfigError(
                f"the data folder {data} is in use by another server (process {owner}); "
                "stop that one, or name another folder with --data"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


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


@asynccontextmanager
async def children(context: Context) -> AsyncIterator[None]:
    """While this is entered, a clerk and a sender are at work. At the end they are stopped gracefully."""
    keepers = [_Keeper(role, context) for role in _ROLES]
    tasks = [asyncio.create_task(keeper.keep()) for keeper in keepers]
    try:
        yield
    finally:
        await asyncio.gather(*(keeper.stop() for keeper in keepers))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Keeper:
    """Starts one role, and starts it again whenever it dies."""

    def __init__(self, role: str, context: Context) -> None:
        self._role = role
        self._context = context
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False

    async def keep(self) -> None:
        wait_s = _RESTART_S_MIN
        loop = asyncio.get_running_loop()
        while not self._stopping:
            began = loop.time()
            code = await self._one_life()
            if self._stopping:
                return
            log_event(logging.ERROR, "process_died", role=self._role, exit_code=code)
            await asyncio.sleep(wait_s)
            lived_s = loop.time() - began
            wait_s = _RESTART_S_MIN if lived_s > _LONG_LIFE_S else min(wait_s * 2, _RESTART_S_MAX)

    async def _one_life(self) -> int:
        """Start the process and wait for its end; the exit code."""
        try:
            # Whoever had the role before is dead. A store that fails now gets another chance with the next.
            await self._context.ask(self._context.store.work.bury_role, self._role)
            self._process = await self._start()
        except (StoreError, OSError) as error:
            log_event(logging.ERROR, "process_not_started", role=self._role, reason=str(error))
            return -1
        return await self._process.wait()

    async def stop(self) -> None:
        """Ask it to end, and make it end if it does not."""
        self._stopping = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(self._context.settings.timing.grace_s + _STOP_S_MORE):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _start(self) -> asyncio.subprocess.Process:
        descriptors = (*self._context.bells.descriptors(), self._context.board.fd)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "bulkrate.engine.processes.process",
            self._role,
            ",".join(map(str, descriptors)),
            stdin=asyncio.subprocess.PIPE,
            pass_fds=descriptors,
        )
        log_event(logging.INFO, "process_started", role=self._role, pid=process.pid)
        assert process.stdin is not None  # noqa: S101  # it was asked for
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            process.stdin.write(msgspec.json.encode(self._context.settings) + b"\n")
            await process.stdin.drain()
        return process

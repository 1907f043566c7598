"""Bells between processes: ring one, and the loop that waits for it goes round at once.

A bell only saves waiting. Every loop also goes round by itself every `timing.poll_s`, so a lost ring costs
that much and nothing is ever lost by it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import dataclass, field


class Bell:
    """A pipe of which only the fact that something is in it counts."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self.read_fd = read_fd
        self.write_fd = write_fd
        os.set_blocking(read_fd, False)
        os.set_blocking(write_fd, False)

    @classmethod
    def new(cls) -> Bell:
        """A bell on a pipe of its own."""
        return cls(*os.pipe())

    def ring(self) -> None:
        """Wake whoever waits. Never blocks and never fails: a full pipe has been rung already."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError, OSError):
            os.write(self.write_fd, b"!")

    def clear(self) -> None:
        """Forget earlier rings."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self.read_fd, 4096):
                pass


class Waiter:
    """Waits for a bell in an event loop."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._rung = asyncio.Event()
        asyncio.get_running_loop().add_reader(bell.read_fd, self._on_ring)

    async def wait(self, timeout_s: float) -> bool:
        """Return at the next ring or after `timeout_s`; whether it rang."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._rung.wait()
        except TimeoutError:
            return False
        self._rung.clear()
        return True

    def ring(self) -> None:
        """Wake the waiter from within its own process."""
        self._rung.set()

    def close(self) -> None:
        """Stop listening."""
        asyncio.get_running_loop().remove_reader(self._bell.read_fd)

    def _on_ring(self) -> None:
        self._bell.clear()
        self._rung.set()


@dataclass(frozen=True, kw_only=True)
class Bells:
    """One bell per process: the `clerk` admits, finishes and sweeps; the `senders` send, the last of them
    perhaps through providers' batch APIs; the `host` serves and waits for ends.
    """

    clerk: Bell = field(default_factory=Bell.new)
    host: Bell = field(default_factory=Bell.new)
    senders: tuple[Bell, ...] = ()

    @classmethod
    def new(cls, senders: int) -> Bells:
        """Bells for so many senders."""
        return cls(senders=tuple(Bell.new() for _ in range(senders)))

    def ring_senders(self) -> None:
        """Wake all of them: any may have the upstream that it is about."""
        for bell in self.senders:
            bell.ring()

    def descriptors(self) -> tuple[int, ...]:
        """The pipe ends, to be inherited by a child process."""
        bells = (self.clerk, self.host, *self.senders)
        return tuple(fd for bell in bells for fd in (bell.read_fd, bell.write_fd))

    @classmethod
    def inherited(cls, descriptors: tuple[int, ...]) -> Bells:
        """The bells behind `descriptors`, in a child process."""
        clerk, host, *senders = (
            Bell(*descriptors[place : place + 2]) for place in range(0, len(descriptors), 2)
        )
        return cls(clerk=clerk, host=host, senders=tuple(senders))

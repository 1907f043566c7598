"""Runs a sandbox in a process of its own, and starts it again whenever that dies.

While it is dead nobody listens and connections are refused, as with an inference server whose engine crashed
and which its service manager starts again. It never restarts what was told to stop or could not start.
"""

import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing.connection import Connection, wait
from types import FrameType

import msgspec

from bulkrate.sandbox.options import SandboxOptions
from bulkrate.sandbox.serve import serve


def keep(options: SandboxOptions) -> None:
    """Serve until SIGTERM or SIGINT, through any number of deaths, `restart_s` apart and on one port.

    OSError when the port or the journal cannot be had.
    """
    stopping = threading.Event()
    life: Life | None = None

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()
        if life is not None:
            life.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    while not stopping.is_set():
        life = Life(options)
        # Told to stop between the two lines above, it must not be waited for in vain.
        if stopping.is_set():
            life.stop()
        options, code = life.end(options)
        if code == 0 or stopping.is_set():
            return
        sys.stderr.write(f"sandbox: died (exit code {code}); starts again in {options.restart_s:g} s\n")
        sys.stderr.flush()
        stopping.wait(options.restart_s)


class Life:
    """A sandbox in a process of its own, which ends with the process that started it."""

    def __init__(self, options: SandboxOptions) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._news, told = spawn.Pipe(duplex=False)
        self._process = spawn.Process(target=_live, args=(options, told))
        self._process.start()
        told.close()

    def port(self) -> int:
        """The port, once it listens. Asked once, and not together with `end`. Raises `OSError`."""
        try:
            news = self._news.recv()
        except EOFError:
            raise OSError("sandbox: died before it listened") from None
        if isinstance(news, OSError):
            raise news
        return int(news)

    def stop(self) -> None:
        """Ask it to end; at once, if it has not begun to listen."""
        self._process.terminate()

    def end(self, options: SandboxOptions) -> tuple[SandboxOptions, int]:
        """Wait for its end: the options with the port that it had, and the exit code."""
        try:
            news = self._news.recv()
        except EOFError:
            news = None  # dead before it listened
        self._process.join()
        if isinstance(news, OSError):
            raise news
        if news is not None:
            options = msgspec.structs.replace(options, port=news)
        return options, self._process.exitcode or 0


def _live(options: SandboxOptions, told: Connection) -> None:
    """One life; ends with the process that keeps it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # until it serves: Ctrl-C reaches the keeper too
    threading.Thread(target=_die_with_keeper, daemon=True).start()
    try:
        serve(options, on_listening=told.send)
    except OSError as error:
        told.send(OSError(error.errno, str(error.strerror or error)))


def _die_with_keeper() -> None:
    keeper = multiprocessing.parent_process()
    if keeper is not None:
        wait([keeper.sentinel])
        os._exit(1)

"""Runs a sandbox in this process until SIGTERM or SIGINT.

Stopping is prompt: calls in flight are cut off, as they are when an inference server is killed; nobody waits
for an answer that says nothing. It never daemonises, reloads or starts workers.
"""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Callable, Iterator

import uvicorn

from bulkrate.sandbox.app import Sandbox
from bulkrate.sandbox.journal import Journal
from bulkrate.sandbox.marks import FINGERPRINT, HEADER
from bulkrate.sandbox.options import SandboxOptions
from bulkrate.sandbox.protocol import SandboxProtocol, closing_idle

_BACKLOG = 4096  # a batch server opens its connections all at once


def serve(options: SandboxOptions, *, on_listening: Callable[[int], None] = lambda _: None) -> None:
    """Listen and answer until told to stop. `on_listening` is told the port.

    OSError when the port or the journal cannot be had. `restart_s` is for `keep`; this is one life.
    """
    with contextlib.ExitStack() as held:
        journal = _opened(options)
        held.callback(journal.close)
        listener = _listening(options.host, options.port)
        held.callback(listener.close)
        http = SandboxProtocol if options.idle_ms is None else closing_idle(options.seed, options.idle_ms)
        config = uvicorn.Config(
            Sandbox(options, journal),
            http=http,
            loop="uvloop",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            headers=[("server", FINGERPRINT), HEADER],
            backlog=_BACKLOG,
        )
        _Server(config, lambda: on_listening(listener.getsockname()[1])).run(sockets=[listener])


class _Server(uvicorn.Server):
    """uvicorn's server, saying when it accepts and stopping at once."""

    def __init__(self, config: uvicorn.Config, say_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._say_started = say_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            where = _url(listener)
            sys.stderr.write(f"sandbox: listening on {where} (no model here: every answer says so)\n")
        sys.stderr.flush()
        self._say_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        calls = list(self.server_state.tasks)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on a signal and exit 0; uvicorn's own raises the signal again after stopping."""
        loop = asyncio.get_running_loop()
        wanted = (signal.SIGTERM, signal.SIGINT)
        for one in wanted:
            loop.add_signal_handler(one, self._stop)
        try:
            yield
        finally:
            for one in wanted:
                loop.remove_signal_handler(one)

    def _stop(self) -> None:
        self.should_exit = True


def _opened(options: SandboxOptions) -> Journal:
    try:
        return Journal(options.journal)
    except OSError as error:
        reason = error.strerror or error
        raise OSError(
            error.errno,
            f"sandbox: the journal {options.journal} cannot be written ({reason}); "
            "name a file in a folder that exists and is writable",
        ) from error


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (while")[0]  # where it was, it says twice
        raise OSError(
            error.errno,
            f"sandbox: cannot listen on {host} port {port} ({reason}); choose another host or port, "
            "or port 0 for any free one",
        ) from error


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"

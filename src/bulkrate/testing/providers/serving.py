"""Running a double: in a thread of this process for tests, or in the foreground."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from bulkrate.sandbox.protocol import SandboxProtocol


@contextmanager
def serving(app: ASGIApp, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve `app` while the context lasts; gives its URL, without a slash at the end."""
    listener = socket.create_server((host, port))
    server = uvicorn.Server(_config(app))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        # The socket listens already: a call that comes early waits for the server.
        yield f"http://{host}:{listener.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        thread.join()
        listener.close()


def serve(app: ASGIApp, *, name: str, host: str, port: int) -> None:
    """Serve `app` until SIGTERM or Ctrl-C. OSError when the port cannot be had."""
    with socket.create_server((host, port)) as listener:
        sys.stderr.write(f"{name}: listening on http://{host}:{listener.getsockname()[1]}\n")
        sys.stderr.flush()
        uvicorn.Server(_config(app)).run(sockets=[listener])


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=SandboxProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        date_header=False,  # a double's clock is its own
    )

"""`bulkrate top`: what the upstreams and batches of a server are doing, live.

Asks the server for its numbers and shows them; changes nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from bulkrate.errors import BulkrateError, ConfigError

if TYPE_CHECKING:
    from bulkrate.core.numbers import Numbers

_DEFAULT = "http://127.0.0.1:8080"
# Numbers are told once a second; over two seconds a rate is calm enough to be read.
_LOOK_S = 2.0
_TIMEOUT_S = 10.0


class NoNumbersError(BulkrateError):
    """The server did not tell its numbers."""


def top(
    server: Annotated[
        str, typer.Option(metavar="URL", help="The server's address.", show_default=_DEFAULT)
    ] = _DEFAULT,
    key: Annotated[
        str | None,
        typer.Option(metavar="env:NAME|file:PATH", help="Where the server's metrics_key is found."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Print one picture and exit.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON and exit.")] = False,
) -> None:
    """Show what a server's upstreams and batches are doing, live.

    The busiest come first. Rates and latencies are of the last two seconds. End it with q or Ctrl-C.

    \b
        bulkrate top
        bulkrate top --server http://batch-host:8080 --key env:BULKRATE_METRICS
    """
    from bulkrate.config import revealed_key

    address = server.rstrip("/").removesuffix("/v1")
    if not address.startswith(("http://", "https://")):
        raise ConfigError(f"--server is {server!r}; give the whole address, as {_DEFAULT}")
    source = _Source(address, revealed_key(key, "--key", os.environ))
    if as_json:
        typer.echo(source.raw())
    elif once or not (sys.stdin.isatty() and sys.stdout.isatty()):
        _print_once(source)
    else:
        _watch(source)


class _Source:
    """Where numbers come from."""

    def __init__(self, address: str, key: str | None) -> None:
        self.address = address
        self._headers = {"accept": "application/json"}
        if key is not None:
            self._headers["authorization"] = f"Bearer {key}"

    def raw(self) -> str:
        """The numbers as the server tells them.

        Raises `NoNumbersError`, and `ConfigError` for a missing or wrong key.
        """
        import http.client
        import urllib.error
        import urllib.request

        request = urllib.request.Request(f"{self.address}/metrics", headers=self._headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
                body: bytes = answer.read()
                return body.decode()
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 401:
                found = "does not take this key" if "authorization" in self._headers else "asks for a key"
                raise ConfigError(
                    f"{self.address} {found}; give the one that its 'metrics_key' names with --key"
                ) from None
            raise NoNumbersError(f"{self.address}/metrics answers {error.code}; is it bulkrate?") from None
        except (OSError, http.client.HTTPException, UnicodeDecodeError) as error:
            reason = getattr(error, "reason", error)
            why = getattr(reason, "strerror", None) or type(reason).__name__
            raise NoNumbersError(f"no server answers at {self.address}: {why}") from None

    def read(self) -> Numbers:
        """The numbers. Raises `NoNumbersError` and `ConfigError`."""
        import msgspec

        from bulkrate.core.numbers import Numbers

        try:
            return msgspec.json.decode(self.raw(), type=Numbers)
        except msgspec.DecodeError:
            raise NoNumbersError(
                f"{self.address} tells numbers that this version does not understand"
            ) from None


def _print_once(source: _Source) -> None:
    import time

    from rich.console import Console

    from bulkrate.cli.screen import picture

    before = source.read()
    time.sleep(_LOOK_S)  # a rate takes two looks
    console = Console(highlight=False)
    console.print(picture(source.read(), before, source.address, width=console.width, height=None))


def _watch(source: _Source) -> None:
    from rich.console import Console
    from rich.live import Live

    from bulkrate.cli.screen import gone, picture

    console = Console(highlight=False)
    now = before = source.read()
    why = None
    with _keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            width, height = console.size
            shown = picture(now, before, source.address, width=width, height=height)
            live.update(shown if why is None else gone(why, shown), refresh=True)
            if pressed(_LOOK_S) in {"q", "Q"}:
                return
            try:
                now, before, why = source.read(), now, None
            except NoNumbersError as error:
                before, why = now, str(error)


@contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """A function that waits for a key and returns it, or "" after so many seconds. Ctrl-C counts as q."""
    import select
    import termios
    import tty

    def pressed(timeout_s: float) -> str:
        try:
            ready, _, _ = select.select([fd], [], [], timeout_s)
            return os.read(fd, 1).decode("ascii", "ignore") if ready else ""
        except KeyboardInterrupt:
            return "q"

    fd = sys.stdin.fileno()
    settings = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield pressed
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, settings)

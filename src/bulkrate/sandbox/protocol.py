"""uvicorn's httptools protocol, with three changes: the app can hang up, idle connections can be closed at
any moment, and unreadable HTTP gets a JSON error.

It never parses or answers anything else itself.
"""

import itertools

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bulkrate.sandbox.asgi import TRANSPORT
from bulkrate.sandbox.dice import Dice
from bulkrate.sandbox.refusals import bad

_KEEP_ALIVE_S = 75  # shorter than a client's pool keeps them, and clients meet resets


class SandboxProtocol(HttpToolsProtocol):
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"][TRANSPORT] = self.transport

    def on_response_complete(self) -> None:
        self.timeout_keep_alive = self.idle_s()  # type: ignore[assignment]  # a timer takes any number
        super().on_response_complete()

    @staticmethod
    def idle_s() -> float:
        """How long the connection may now be idle."""
        return _KEEP_ALIVE_S

    def send_400_response(self, msg: str) -> None:
        body = bad(msg).body()
        head = [b"HTTP/1.1 400 Bad Request"]
        head += [name + b": " + value for name, value in self.server_state.default_headers]
        head += [b"content-type: application/json", b"content-length: %d" % len(body), b"connection: close"]
        self.transport.write(b"\r\n".join(head) + b"\r\n\r\n" + body)
        self.transport.close()


def closing_idle(seed: int, idle_ms: float) -> type[SandboxProtocol]:
    """A protocol that closes idle connections at moments drawn from 0 to `idle_ms`, without a word."""
    dice, turns = Dice.of(seed, b"idle"), itertools.count()

    class Closing(SandboxProtocol):
        @staticmethod
        def idle_s() -> float:
            return dice.share(str(next(turns))) * idle_ms / 1000

    return Closing

"""A receiver of webhooks on 127.0.0.1, in a thread."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from tests.support.serving import Handler, serving

WAIT_S_MAX = 60.0


class Delivery(NamedTuple):
    """A request as it came; names of headers are in lower case."""

    headers: Mapping[str, str]
    body: bytes


@dataclass
class Hook:
    """Where to send to, and what has come."""

    url: str
    _came: queue.Queue[Delivery] = field(default_factory=queue.Queue)

    def next(self) -> Delivery:
        """The next delivery, when it comes."""
        return self._came.get(timeout=WAIT_S_MAX)

    def about(self, batch_id: str) -> Delivery:
        """The next delivery about this batch; those about others are passed over."""
        while batch_id.encode() not in (came := self.next()).body:
            pass
        return came


@contextmanager
def receiving() -> Iterator[Hook]:
    """A receiver that answers 200 to everything."""
    came: queue.Queue[Delivery] = queue.Queue()

    class Receiver(Handler, BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.taken()
            came.put(Delivery({name.lower(): value for name, value in self.headers.items()}, body))
            self.give(200)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    with serving(server):
        yield Hook(f"http://127.0.0.1:{server.server_port}/hook", came)

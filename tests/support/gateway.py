"""A gateway on 127.0.0.1 in threads: it hands requests on to a server, and speaks for one that is gone."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.serving import Handler, serving

_PAGE = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center></body></html>\r\n"


class Gateway:
    """Answers `status` for a server that is gone. With `keeps_list` it goes on to tell what that served."""

    def __init__(self, to: int, *, status: int, keeps_list: bool) -> None:
        self.to = to
        self.status = status
        self.keeps_list = keeps_list
        self.port = 0
        #: How many requests it answered itself.
        self.alone = 0
        self._list: bytes | None = None
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, str, bytes]:
        """Status, content type and content, be they the server's or its own."""
        lists = method == "GET" and path.endswith("/models")
        try:
            status, kind, content = self._ask(method, path, body)
        except (OSError, http.client.HTTPException):
            with self._lock:
                self.alone += 1
            if lists and self.keeps_list and self._list is not None:
                return 200, "application/json", self._list
            return self.status, "text/html", _PAGE.format(self.status).encode()
        if lists and status == 200:
            self._list = content
        return status, kind, content

    def _ask(self, method: str, path: str, body: bytes) -> tuple[int, str, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.to, timeout=60)
        try:
            connection.request(method, path, body or None, {"content-type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.headers.get("content-type", ""), answer.read()
        finally:
            connection.close()


@contextmanager
def gateway(to: int, *, status: int = 502, keeps_list: bool = False) -> Iterator[Gateway]:
    """A gateway to the port `to`."""
    made = Gateway(to, status=status, keeps_list=keeps_list)

    class Between(Handler, BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._pass_on(b"")

        def do_POST(self) -> None:
            self._pass_on(self.taken())

        def _pass_on(self, body: bytes) -> None:
            status, kind, content = made.answer(self.command, self.path, body)
            self.give(status, content, kind)

    class Listener(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: object) -> None:
            """Whoever asked has gone."""

    server = Listener(("127.0.0.1", 0), Between)
    made.port = server.server_port
    with serving(server):
        yield made

"""A plain OpenAI-style Batch API: a real bulkrate server behind a proxy that hides what only ours offers, and
does what others do.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_OURS = re.compile(r"/health|/v1/batches/[^/]+/(output|errors).*")
_TIMEOUT_S = 30.0
#: Lines of a result file, split into those that were done in time and those that were not.
Split = Callable[[str], bool]


@dataclass
class Manners:
    """How this server behaves; changed by tests while it runs."""

    #: So many create calls are carried out, but never answered.
    creates_lost: int = 0
    #: Which lines (by `custom_id`) of the next batch to be seen are done before it expires; None: all.
    expire: Split | None = None
    #: Ends of the result files have no line break.
    no_last_break: bool = False
    #: Range headers are not known.
    no_ranges: bool = False
    #: So many reads of results break off in the middle.
    contents_cut: int = 0
    #: Put this many times the first result line into the output again, and one that is nobody's.
    strange: int = 0
    creates: list[dict[str, Any]] = field(default_factory=list)
    #: Batches that expired, and their output files, by id, with the rule of what was done.
    expired: dict[str, Split] = field(default_factory=dict)


class PlainServer:
    """Forwards to a bulkrate server on `port`; `url` is where it listens."""

    def __init__(self, port: int) -> None:
        self.manners = Manners()
        handler = type("Handler", (_Handler,), {"behind": port, "manners": self.manners})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @contextmanager
    def listening(self) -> Iterator[PlainServer]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    behind: int
    manners: Manners
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if _OURS.fullmatch(self.path):
            self._say(404, {"error": {"message": "no such route", "type": "invalid_request_error"}})
            return
        if self.path.endswith("/content"):
            self._content()
            return
        status, body = self._forward("GET", b"")
        if "/batches" in self.path and status == 200:
            found = json.loads(body)
            for batch in found["data"] if found["object"] == "list" else [found]:
                self._plain(batch)
            self._say(200, found)
        else:
            self._raw(status, body)

    def do_POST(self) -> None:
        body = self._body()
        if self.path == "/v1/batches":
            self._create(body)
            return
        status, answer = self._forward("POST", body)
        if "/batches/" in self.path and status == 200:
            batch = json.loads(answer)
            self._plain(batch)
            answer = json.dumps(batch).encode()
        self._raw(status, answer)

    def do_DELETE(self) -> None:
        self._raw(*self._forward("DELETE", b""))

    def _create(self, body: bytes) -> None:
        asked = json.loads(body)
        self.manners.creates.append(asked)
        unknown = asked.keys() - {"input_file_id", "endpoint", "completion_window", "metadata"}
        if unknown:
            self._say(400, {"error": {"message": f"Unknown parameter: {unknown}", "type": "invalid"}})
            return
        _, content = self._forward("GET", b"", f"/v1/files/{asked['input_file_id']}/content")
        models = {json.loads(line)["body"].get("model") for line in content.splitlines()}
        if len(models) > 1:
            self._say(400, {"error": {"message": "a batch is for one model", "type": "invalid"}})
            return
        status, answer = self._forward("POST", body)
        batch = json.loads(answer)
        if status == 200:
            if self.manners.expire is not None:
                self.manners.expired[batch["id"]] = self.manners.expire
                self.manners.expire = None
            self._plain(batch)
        if self.manners.creates_lost:
            self.manners.creates_lost -= 1
            self.close_connection = True
            return
        self._say(status, batch)

    def _plain(self, batch: dict[str, Any]) -> None:
        """A batch object without what only ours has; expired, if it shall be."""
        batch.pop("progress", None)
        done = self.manners.expired.get(batch["id"])
        if done is not None and batch["status"] == "completed":
            self.manners.expired[batch["output_file_id"]] = done
            batch["status"] = "expired"
            batch["error_file_id"] = f"late-{batch['output_file_id']}"

    def _content(self) -> None:
        file_id = self.path.split("/")[-2]
        late = file_id.startswith("late-")
        file_id = file_id.removeprefix("late-")
        status, body = self._forward("GET", b"", f"/v1/files/{file_id}/content")
        if status != 200:
            self._raw(status, body)
            return
        lines = body.splitlines()
        if done := self.manners.expired.get(file_id):
            ids = {line: json.loads(line)["custom_id"] for line in lines}
            lines = [line for line in lines if done(ids[line]) is not late]
            lines = [_too_late(ids[line]) for line in lines] if late else lines
        if self.manners.strange:
            lines += lines[:1] * self.manners.strange
            lines += [b"{", b"[]", b"", json.dumps({"custom_id": "nobody's", "response": None}).encode()]
            lines += [json.dumps({"custom_id": "999999", "response": {"status_code": 200}}).encode()]
        self._results(lines)

    def _results(self, lines: list[bytes]) -> None:
        data = b"\n".join(lines)
        if lines and not self.manners.no_last_break:
            data += b"\n"
        offset = re.fullmatch(r"bytes=([0-9]+)-", self.headers.get("range", ""))
        status = 200
        if offset and not self.manners.no_ranges:
            status, data = 206, data[int(offset[1]) :]
            if not data:
                self._raw(416, b"")
                return
        if self.manners.contents_cut:
            self.manners.contents_cut -= 1
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
            return
        self._raw(status, data)

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _forward(self, method: str, body: bytes, path: str | None = None) -> tuple[int, bytes]:
        known = {"content-type", "authorization"}
        headers = {name: value for name, value in self.headers.items() if name.lower() in known}
        connection = HTTPConnection("127.0.0.1", self.behind, timeout=_TIMEOUT_S)
        try:
            connection.request(method, path or self.path, body or None, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def _say(self, status: int, body: Any) -> None:
        self._raw(status, json.dumps(body).encode())

    def _raw(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Quiet."""


def _too_late(custom_id: str) -> bytes:
    """As OpenAI writes it into the error file of a batch that expired."""
    error = {"code": "batch_expired", "message": "This request could not be executed in time."}
    line = {"id": f"batch_req_{custom_id}", "custom_id": custom_id, "response": None, "error": error}
    return json.dumps(line).encode()

"""HTTP without an SDK, for what an SDK would hide: odd bodies, exact headers, connections that break."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPConnection
from typing import Any

TIMEOUT_S = 30.0
BOUNDARY = "----bulkrate-test"
FORM_TYPE = f"multipart/form-data; boundary={BOUNDARY}"


@dataclass(frozen=True)
class Answer:
    """What came back; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @cached_property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """OpenAI's error body, which must be whole."""
        error = self.json["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["message"]
        assert self.headers["content-type"] == "application/json"
        return error


class Http:
    """Requests to one server, each on a connection of its own."""

    def __init__(self, port: int, headers: Mapping[str, str] | None = None) -> None:
        self.port = port
        self.headers = dict(headers or {})

    def __call__(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask. A body that is not bytes is sent in chunks."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        try:
            chunked = body is not None and not isinstance(body, bytes)
            connection.request(
                method, path, body, {**self.headers, **(headers or {})}, encode_chunked=chunked
            )
            answer = connection.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, named, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        """GET, with headers as keywords."""
        return self("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def post(self, path: str, asked: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """POST JSON; without `asked`, nothing at all."""
        if asked is None:
            return self("POST", path, headers=headers)
        body = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
        return self("POST", path, body, {"content-type": "application/json", **(headers or {})})

    def form(self, path: str, *parts: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """POST a form of `part`s."""
        return self("POST", path, form(*parts), {"content-type": FORM_TYPE, **(headers or {})})

    def upload(self, content: bytes, *, purpose: str = "batch", filename: str = "input.jsonl") -> Any:
        """Upload a file; the file object."""
        answer = self.form("/v1/files", part("purpose", purpose), part("file", content, filename))
        assert answer.status == 200, answer.body
        return answer.json

    def break_off(self, head: str, body: bytes) -> None:
        """Send the beginning of a request and hang up."""
        with self.held_open(head, body):
            pass

    @contextmanager
    def held_open(self, head: str, body: bytes) -> Iterator[None]:
        """Send a request, or its beginning; hang up at the end."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_S) as connection:
            connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
            yield


def part(name: str, value: bytes | str, filename: str | None = None, *headers: str) -> bytes:
    """One part of a form; with a `filename` it is a file."""
    disposition = f'Content-Disposition: form-data; name="{name}"'
    if filename is not None:
        disposition += f'; filename="{filename}"'
    lines = [f"--{BOUNDARY}", disposition, *headers, "", ""]
    data = value.encode() if isinstance(value, str) else value
    return "\r\n".join(lines).encode() + data + b"\r\n"


def form(*parts: bytes) -> bytes:
    """A whole form."""
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()

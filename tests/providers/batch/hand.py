"""A hand with a network for vendors: does what an `Ask` says, as whoever uses them must."""

from __future__ import annotations

import hashlib
import http.client
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from bulkrate.providers.batch.base import (
    Ask,
    Call,
    Content,
    Found,
    Remote,
    RemoteFile,
    Reply,
    Result,
    Shard,
    Vendor,
    line_id,
)

T = TypeVar("T")
WAIT_S_MAX = 60.0


class Lost(Exception):
    """The connection ended without a whole answer."""


@dataclass
class Hand:
    """Speaks for one vendor to one place."""

    vendor: Vendor
    url: str
    key: str = "test-key"
    content: bytes = b""
    sent: list[Call] = field(default_factory=list)

    def do(self, ask: Ask[T] | T) -> T:
        """All steps of an operation."""
        while isinstance(ask, Ask):
            ask = ask.read(self.send(ask.call))
        return ask

    def send(self, call: Call) -> Reply:
        """One call."""
        self.sent.append(call)
        whole = call.path if call.path.startswith("http") else self.vendor.base(self.url) + call.path
        parts = urlsplit(whole)
        headers = dict(call.headers) | ({} if call.keyless else self.vendor.auth(self.key))
        body = call.body
        if isinstance(body, Content):
            body = body.before + self.content + body.after
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
        try:
            connection.request(
                call.method, parts.path + (f"?{parts.query}" if parts.query else ""), body, headers
            )
            response = connection.getresponse()
            reply = Reply(
                status=response.status,
                body=response.read(),
                headers={name.lower(): value for name, value in response.getheaders()},
            )
        except (http.client.HTTPException, ConnectionError) as cause:
            raise Lost(str(cause)) from cause
        finally:
            connection.close()
        return reply

    def shard(
        self, bodies: Sequence[Any], *, endpoint: str = "/v1/chat/completions", name: str | None = None
    ) -> Shard:
        """A shard of these bodies, with a name of its own; its content is in our hands from now on."""
        name = name or f"shard_{secrets.token_hex(6)}"
        lines = [
            self.vendor.to_vendor(line_id(name, number), endpoint, msgspec.json.encode(body))
            for number, body in enumerate(bodies)
        ]
        self.content = self.vendor.between.join(lines)
        return Shard(
            id=name,
            fingerprint=hashlib.sha256(self.content).hexdigest(),
            endpoint=endpoint,
            model=bodies[0]["model"],
            lines=len(bodies),
            size=len(self.content),
            window=self.vendor.limits(bodies[0]["model"]).windows[0],
        )

    def upload(self, shard: Shard) -> str | None:
        """The id of the uploaded file; None where there are none."""
        asked = self.vendor.upload(shard)
        if asked is None:
            return None
        file: RemoteFile = self.do(asked)
        while not file.ready:
            file = self.do(self.vendor.look_file(file.id))
        return file.id

    def begin(self, shard: Shard) -> Remote:
        """Upload and create."""
        return self.do(self.vendor.create(shard, self.upload(shard)))

    def until(
        self, remote_id: str, wanted: Callable[[Remote], bool] = lambda remote: remote.state.ended
    ) -> Remote:
        """The batch once it is as wanted."""
        deadline = time.monotonic() + WAIT_S_MAX
        while not wanted(remote := self.do(self.vendor.look(remote_id))):
            assert time.monotonic() < deadline, remote
        return remote

    def found(self, shard: Shard, *, file_id: str | None = None) -> tuple[Found, ...]:
        """What `find` finds that was created in the last minutes."""
        return self.do(self.vendor.find(shard, since=int(time.time()) - 300, file_id=file_id))

    def results(self, shard: Shard, remote: Remote) -> list[Result]:
        """All result lines."""
        found: list[Result] = []
        for call in self.vendor.results(remote):
            reply = self.send(call)
            assert reply.status == 200, self.vendor.refused(reply)
            found += [
                self.vendor.from_vendor(shard, line, created=1) for line in reply.body.splitlines() if line
            ]
        return found

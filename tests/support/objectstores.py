"""Object stores as processes of the tests' own: one speaks the wire of S3, one that of Google Cloud Storage.

They listen on free ports of 127.0.0.1 and end with whoever started them. What is in them is put there and
looked at by plain HTTP, and not through the library that we read and write with.
"""

from __future__ import annotations

import json
import os
import re
import socket
import socketserver
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

from tests.support.processes import free_port, wait_until
from tests.support.serving import serving

#: What would lead elsewhere, or to somebody's real buckets.
_NOT_OURS = ("AWS_", "GOOGLE_", "CLOUD_STORAGE_", "STORAGE_EMULATOR_", "BOTO_", "HTTP_PROXY", "HTTPS_PROXY")


@dataclass(frozen=True)
class Bucket:
    """A bucket in a store that runs on `port`. `env` is what a user has in the environment to reach it."""

    scheme: str
    port: int
    name: str

    @property
    def env(self) -> dict[str, str]:
        """The environment of somebody who works with this store."""
        return self.reached_at(self.port)

    def reached_at(self, port: int) -> dict[str, str]:
        """The same through another port."""
        root = f"http://127.0.0.1:{port}"
        if self.scheme == "gs":
            return {"STORAGE_EMULATOR_HOST": root}
        return {
            "AWS_ENDPOINT_URL": root,
            "AWS_ACCESS_KEY_ID": "AKIATESTS",
            "AWS_SECRET_ACCESS_KEY": "not a secret",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def at(self, name: str) -> str:
        """The address of an object."""
        return f"{self.scheme}://{self.name}/{name}"

    def make(self) -> None:
        """Make the bucket."""
        if self.scheme == "gs":
            self._call("POST", "/storage/v1/b?project=tests", json.dumps({"name": self.name}).encode())
        else:
            self._call("PUT", f"/{self.name}")

    def put(self, name: str, content: bytes) -> None:
        """Put an object there."""
        if self.scheme == "gs":
            path = f"/upload/storage/v1/b/{self.name}/o?uploadType=media&name={quote(name, safe='')}"
            self._call("POST", path, content)
        else:
            self._call("PUT", f"/{self.name}/{quote(name)}", content)

    def get(self, name: str) -> bytes | None:
        """What stands in an object; None if there is none."""
        gs = f"/storage/v1/b/{self.name}/o/{quote(name, safe='')}?alt=media"
        try:
            return self._call("GET", gs if self.scheme == "gs" else f"/{self.name}/{quote(name)}")
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return None

    def names(self) -> list[str]:
        """The names of all objects, without what Arrow puts there in place of an empty folder."""
        if self.scheme == "gs":
            found = json.loads(self._call("GET", f"/storage/v1/b/{self.name}/o"))
            return [item["name"] for item in found.get("items", [])]
        found = self._call("GET", f"/{self.name}?list-type=2").decode()
        return re.findall("<Key>([^<]*[^</])</Key>", found)

    def _call(self, method: str, path: str, content: bytes | None = None) -> bytes:
        kind = "application/json" if "?project=" in path else "application/octet-stream"
        asked = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=content,
            method=method,
            # To strangers S3 shows nothing; any signature will do here.
            headers={"Content-Type": kind, "Authorization": "AWS AKIATESTS:any"},
        )
        with urllib.request.urlopen(asked, timeout=30) as answer:
            body: bytes = answer.read()
        return body


@contextmanager
def store(scheme: str, **env: str) -> Iterator[int]:
    """A store that speaks the wire of `scheme`, in a process of its own; its port."""
    port = free_port()
    program = "moto_server" if scheme == "s3" else "gcp-storage-emulator"
    words = ["-H", "127.0.0.1", "-p", str(port)]
    if scheme == "gs":
        words = ["start", "--host", "127.0.0.1", "--port", str(port), "--in-memory"]
    process = subprocess.Popen(
        [Path(sys.executable).with_name(program), *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=outside(env),
    )
    try:
        wait_until(lambda: process.poll() is not None or _listens(port), bool)
        assert process.poll() is None, f"{program} ended with {process.returncode}"
        yield port
    finally:
        process.kill()
        process.wait()


@contextmanager
def tapped(port: int, after_bytes: int, then: Callable[[], object]) -> Iterator[int]:
    """A way to a store that calls `then` once so many bytes went to it, and goes on; its own port."""
    sent = 0
    called = threading.Lock()

    def pass_on(come: socket.socket, go: socket.socket, counts: bool) -> None:
        nonlocal sent
        with suppress(OSError):
            while block := come.recv(1 << 16):
                go.sendall(block)
                sent += len(block) if counts else 0
                if sent >= after_bytes and called.acquire(blocking=False):
                    then()
        with suppress(OSError):
            go.shutdown(socket.SHUT_WR)

    class Link(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", port)) as further:
                back = threading.Thread(target=pass_on, args=(further, self.request, False))
                back.start()
                pass_on(self.request, further, True)
                back.join()

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Link)
    with serving(server):
        yield server.server_address[1]


def outside(more: dict[str, str]) -> dict[str, str]:
    """Our environment without anybody's own buckets and keys, and `more`."""
    mine = {name: value for name, value in os.environ.items() if not name.upper().startswith(_NOT_OURS)}
    return mine | more


def bucket(scheme: str, port: int) -> Bucket:
    """A new bucket in a store."""
    made = Bucket(scheme, port, f"bucket-{uuid4().hex}")
    made.make()
    return made


def _listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0

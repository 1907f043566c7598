"""Real sandboxes: each runs `serve` in a process of its own on a free port of 127.0.0.1."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

Start = Callable[..., "Running"]

_PROGRAM = """
import sys
from pathlib import Path, PosixPath
from bulkrate.sandbox import SandboxOptions, serve
serve(SandboxOptions(**eval(sys.argv[1])))
"""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self):
        return json.loads(self.raw)

    @property
    def error(self):
        return self.body["error"]


@dataclass(frozen=True)
class Running:
    url: str
    process: subprocess.Popen[str]

    def call(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """One call over a connection of its own; `body` is sent as JSON unless it is bytes."""
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        try:
            connection.request(method, path, raw, headers)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.call("GET", path, **headers)

    def post(self, path: str, body: object, **headers: str) -> Answer:
        return self.call("POST", path, body, **headers)

    def chat(self, text: str, **fields: object) -> Answer:
        asked = {"model": "sandbox", "messages": [{"role": "user", "content": text}], **fields}
        return self.post("/v1/chat/completions", asked)

    def stop(self, with_signal: int = signal.SIGTERM) -> None:
        self.process.send_signal(with_signal)
        self.process.wait(timeout=10)


@contextmanager
def running(**options: object) -> Iterator[Running]:
    """A sandbox that must stop with exit code 0 and nothing on stderr but its first line."""
    command = [sys.executable, "-c", _PROGRAM, repr({"port": 0, **options})]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            line = process.stderr.readline()
            assert line.startswith("sandbox: listening on http://"), line + process.stderr.read()
            assert line.endswith(" (no model here: every answer says so)\n")
            one = Running(line.split()[3], process)
            yield one
            one.stop()
        finally:
            process.kill()
        assert (process.stderr.read(), process.returncode) == ("", 0)


@contextmanager
def running_once(how: str = "serve", **options: object) -> Iterator[Running]:
    """A sandbox that may die, or be kept (`how="keep"`)."""
    program = _PROGRAM.replace("serve", how)
    command = [sys.executable, "-c", program, repr({"port": 0, **options})]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield Running(process.stderr.readline().split()[3], process)
        finally:
            process.kill()


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Running]:
    """A sandbox with default options, for tests that leave nothing behind in it."""
    with running() as one:
        yield one


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a sandbox with options of the test's own."""
    with ExitStack() as started:
        yield lambda **options: started.enter_context(running(**options))

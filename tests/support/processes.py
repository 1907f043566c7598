"""Real processes for tests: the server and the sandbox, on free ports of 127.0.0.1, stopped by whoever
started them.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from openai import OpenAI

START_S_MAX = 30.0
END_S_MAX = 60.0
_WORKER_STARTED = re.compile(r"process_started role=(\S+) pid=(\d+)")
_ADDRESS = re.compile(r'(?:(?:serves|listening on) http://127\.0\.0\.1:|"server_ready".*"port":)(\d+)')


class Process:
    """A `bulkrate` command that says on standard error where it listens."""

    def __init__(
        self, *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("BULKRATE_")}
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "bulkrate", *arguments],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=clean | dict(env or {}),
            cwd=cwd,
            text=True,
        )
        self.log: list[str] = []
        self._said = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port = int(self.wait_for_log(_ADDRESS, START_S_MAX)[1])

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.root}/v1"

    def wait_for_log(self, pattern: str | re.Pattern[str], timeout_s: float = END_S_MAX) -> re.Match[str]:
        """The first match of `pattern` in a line of the log, now or later."""
        deadline = time.monotonic() + timeout_s
        seen = 0
        with self._said:
            while True:
                for line in self.log[seen:]:
                    if match := re.search(pattern, line):
                        return match
                seen = len(self.log)
                ended = not self._reader.is_alive()
                if ended or not self._said.wait(max(0.0, deadline - time.monotonic())):
                    raise AssertionError(f"{pattern!r} was not said:\n" + "".join(self.log[-40:]))

    def kill(self) -> None:
        """SIGKILL, at once."""
        self.popen.kill()
        self._end()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.popen.send_signal(signal.SIGTERM)
        return self._end()

    def _end(self) -> int:
        code = self.popen.wait(END_S_MAX)
        self._reader.join(END_S_MAX)
        # A child that outlives its parent holds the pipe, and to close what a thread reads waits for ever.
        if self.popen.stderr is not None and not self._reader.is_alive():
            self.popen.stderr.close()
        return code

    def _read(self) -> None:
        assert self.popen.stderr is not None
        for line in self.popen.stderr:
            with self._said:
                self.log.append(line)
                self._said.notify_all()
        with self._said:
            self._said.notify_all()


class Server(Process):
    """`bulkrate serve` on a data folder of its own."""

    def __init__(
        self, data: Path, *upstreams: str, flags: tuple[str, ...] = (), env: Mapping[str, str] | None = None
    ) -> None:
        self.data = data
        chosen = [part for url in upstreams for part in ("--upstream", url)]
        self._client: OpenAI | None = None
        super().__init__("serve", "--port", "0", "--data", str(data), *chosen, *flags, env=env)

    @property
    def client(self) -> OpenAI:
        """The official SDK, pointed at it, without retries. Closed with the server."""
        if self._client is None:
            self._client = OpenAI(base_url=self.url, api_key="any", max_retries=0)
        return self._client

    def _end(self) -> int:
        if self._client is not None:
            self._client.close()
            self._client = None
        return super()._end()

    def child(self, role: str) -> int:
        """The process id of the latest clerk or sender."""
        lines = [line for line in self.log if f"process_started role={role} " in line]
        return int(lines[-1].rpartition("pid=")[2])

    def workers(self) -> dict[str, int]:
        """The process id of the latest life of each process beside the server."""
        started = (_WORKER_STARTED.search(line) for line in self.log)
        return {found[1]: int(found[2]) for found in started if found}

    def senders(self) -> dict[str, int]:
        """The same for the senders alone."""
        return {role: pid for role, pid in self.workers().items() if role.startswith("sender")}

    def get(self, path: str) -> Any:
        """A GET without the SDK; its JSON, whatever the status."""
        try:
            with urllib.request.urlopen(self.root + path, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.load(error)


@contextmanager
def running(process: Process) -> Iterator[Any]:
    """Stop the process at the end, whatever happened."""
    try:
        yield process
    finally:
        if process.popen.poll() is None:
            process.popen.kill()
        process._end()


def sandbox(*flags: str) -> Process:
    """`bulkrate sandbox` on a free port."""
    return Process("sandbox", "--port", "0", *flags)


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_until_ended(client: OpenAI, batch_id: str, timeout_s: float = END_S_MAX) -> Any:
    """The batch, once it has ended."""
    return wait_until(
        lambda: client.batches.retrieve(batch_id),
        lambda batch: batch.status in {"completed", "failed", "expired", "cancelled"},
        timeout_s,
    )


def wait_until(look: Any, good: Any, timeout_s: float = END_S_MAX) -> Any:
    """What `look` returns, once it is `good`: polls another process, which has no other way to tell us."""
    deadline = time.monotonic() + timeout_s
    while True:
        seen = look()
        if good(seen):
            return seen
        assert time.monotonic() < deadline, f"still {seen!r} after {timeout_s} s"
        time.sleep(0.01)


def chat_line(custom_id: str, text: str = "hello", model: str = "gpt-4o-mini", **body: Any) -> dict[str, Any]:
    """One input line for chat."""
    return {
        "custom_id": custom_id,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": model, "messages": [{"role": "user", "content": text}], **body},
    }


def jsonl(*lines: Any) -> bytes:
    """The bytes of an input file."""
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def submit(client: OpenAI, content: bytes, endpoint: str = "/v1/chat/completions", **create: Any) -> Any:
    """Upload an input and begin a batch."""
    file = client.files.create(file=("input.jsonl", content), purpose="batch")
    create.setdefault("completion_window", "24h")
    return client.batches.create(input_file_id=file.id, endpoint=endpoint, **create)


def lines_of(client: OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    """The parsed lines of an output or error file; none if there is no file."""
    if file_id is None:
        return []
    return [json.loads(line) for line in client.files.content(file_id).read().splitlines()]

"""`bulkrate` as a process of its own: begun, waited for, stopped and killed like anybody's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_SECONDS_MAX = 120.0


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours without what would name a place to run."""
    mine = ("BULKRATE_", "OPENAI_", "ANTHROPIC_", "GEMINI_", "MISTRAL_")
    return {name: value for name, value in os.environ.items() if not name.startswith(mine)} | dict(more or {})


class Command:
    """One run of the command in the folder `cwd`."""

    def __init__(
        self,
        cwd: Path,
        *words: object,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        self.popen = subprocess.Popen(
            [*prefix, sys.executable, "-m", "bulkrate", *map(str, words)],
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(env),
        )
        self._stdin = stdin
        self.stdout = ""
        self.stderr = ""

    def end(self) -> int:
        """Wait; the exit code as a shell tells it."""
        out, err = self.popen.communicate(self._stdin, timeout=_SECONDS_MAX)
        self.stdout, self.stderr = out.decode(), err.decode()
        code = self.popen.returncode
        assert "Traceback" not in self.stderr, self.stderr
        return code if code >= 0 else 128 - code

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.popen.send_signal(number)

    @property
    def json(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.stdout)


def ran(cwd: Path, *words: object, **more: Any) -> Command:
    """Run to the end."""
    command = Command(cwd, *words, **more)
    command.code = command.end()  # type: ignore[attr-defined]
    return command


def record_of(home: Path) -> dict[str, Any]:
    """The record of the only job under `home`; empty while there is none."""
    found = sorted((home / "jobs").glob("*/job.json"))
    return json.loads(found[-1].read_bytes()) if found else {}


@contextmanager
def hosts_stopped(home: Path) -> Iterator[None]:
    """Leave no engine behind."""
    try:
        yield
    finally:
        for lock in (home / "engines").glob("*/lock"):
            text = lock.read_text().strip()
            if text.isdecimal() and Path(f"/proc/{text}/cmdline").exists():
                words = Path(f"/proc/{text}/cmdline").read_bytes().split(b"\0")
                if b"host" in words and str(lock.parent).encode() in words:
                    os.kill(int(text), signal.SIGKILL)

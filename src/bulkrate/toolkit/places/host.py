"""The engine in a process of its own, kept by the state folder of the jobs that need it.

Jobs with the same upstreams share one. It runs while anyone is attached to it, a process that holds a shared
lock on its `attached` file, and ends by itself soon after the last one has let go or died. So Ctrl-C, a crash
and a reboot all stop the sending, and the next to attach starts it again where it stopped.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import msgspec

from bulkrate.config import Settings
from bulkrate.errors import ConfigError, JobError, ServerUnreachable
from bulkrate.toolkit.places.batch_api import BatchApi

#: What the host exits with when another host has the folder.
EXIT_TAKEN = 69
#: The file that says where the host of a folder answers.
DOOR = "door.json"
_START_S_MAX = 60.0
# What was in flight may take this long to land, and a little more.
_LET_GO_S_MAX = 60.0
_LOOK_S = 0.03
# Not long: a host that has died comes back by being started.
_PATIENCE_S = 3.0


class HostAsk(msgspec.Struct, frozen=True, kw_only=True):
    """What a host is told on its standard input: settings with their secrets, and the options of a sandbox to
    bring along as the upstream `sandbox`, if there shall be one.
    """

    settings: Settings
    sandbox: dict[str, Any] | None = None

    def encoded(self) -> bytes:
        """As the host is told it."""
        return msgspec.json.encode(self, order="deterministic")


class Door(msgspec.Struct, frozen=True, kw_only=True):
    """Where a host answers, and the key that opens it; kept in its folder for this user alone."""

    url: str
    key: str
    pid: int
    #: `mark_of` what it was told.
    mark: str = ""


def mark_of(told: bytes) -> str:
    """By which a host that was told the same is known."""
    return hashlib.sha256(told).hexdigest()


def folder_of(home: Path, ask: HostAsk) -> Path:
    """The folder of the host for these upstreams: another when one of them is elsewhere. How they are driven
    may change meanwhile, and its batches are found again.
    """
    upstreams = {
        name: (upstream.url, upstream.kind, upstream.provider)
        for name, upstream in ask.settings.upstreams.items()
    }
    what = msgspec.json.encode((upstreams, ask.sandbox), order="deterministic")
    return home / "engines" / hashlib.sha256(what).hexdigest()[:12]


class _Process(subprocess.Popen[bytes]):
    """A host, which is meant to outlive whoever started it."""

    def __del__(self, *_: object) -> None:
        """Nobody is to be warned that it still runs."""


class Attached:
    """A hold on a running host; `api` is where its Batch API answers."""

    def __init__(self, folder: Path, ask: HostAsk, *, tell: Callable[[str], None] = lambda _: None) -> None:
        """Start the host if it does not run. `tell` is told what is waited for.

        Raises `ConfigError` when it cannot be started.
        """
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"the folder {folder} cannot be made: {error.strerror}") from error
        self._folder = folder
        self._told = ask.encoded()
        self._tell = tell
        self._hold = _hold(folder, tell)
        try:
            self.api = self._open()
        except BaseException:
            self._hold.close()
            raise

    def again(self) -> None:
        """The host has died: start another. Does nothing when it answers."""
        self.api.close()
        self.api = self._open()

    def close(self) -> None:
        """Let go. The host ends soon, unless others are attached."""
        self.api.close()
        self._hold.close()

    def _open(self) -> BatchApi:
        until = time.monotonic() + _START_S_MAX
        started: subprocess.Popen[bytes] | None = None
        ended: int | None = None
        while time.monotonic() < until:
            if not _is_owned(self._folder):
                started = self._start(started)
            elif (door := read_door(self._folder)) is not None:
                api = BatchApi(door.url, door.key, patience_s=_PATIENCE_S)
                if door.pid != ended and api.is_bulkrate():
                    if door.mark == mark_of(self._told) or not self._is_alone():
                        fcntl.flock(self._hold, fcntl.LOCK_SH)
                        return api
                    # It has the key, or the limits, of before.
                    ended = door.pid
                    with suppress(ProcessLookupError):
                        os.kill(ended, signal.SIGTERM)
                api.close()
            time.sleep(_LOOK_S)
        raise ServerUnreachable(
            f"the engine did not start within {_START_S_MAX:g} s; see {self._folder / 'log'}"
        )

    def _is_alone(self) -> bool:
        """Whether nobody else is attached; then nobody else can be, until this one shares its lock again."""
        try:
            fcntl.flock(self._hold, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._tell("another job shares the engine: it keeps the keys and settings it was started with")
            return False
        return True

    def _start(self, started: subprocess.Popen[bytes] | None) -> subprocess.Popen[bytes]:
        """Start a host, unless the one that was `started` is on its way."""
        if started is not None:
            code = started.poll()
            if code is None:
                return started
            if code > 0 and code != EXIT_TAKEN:
                raise ConfigError(f"the engine did not start: {_last_words(self._folder)}")
        with (self._folder / "log").open("ab") as log:
            process = _Process(
                [sys.executable, "-m", "bulkrate", "host", str(self._folder)],
                # No module of the user's in this folder shall stand in for one of ours, nor in its children.
                env={**os.environ, "PYTHONSAFEPATH": "1"},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                # A session of its own: Ctrl-C in the terminal is for us, not for what is in flight.
                start_new_session=True,
            )
        _hosts[:] = [host for host in _hosts if host.poll() is None] + [process]
        assert process.stdin is not None  # noqa: S101  # it was asked for
        with suppress(BrokenPipeError), process.stdin as told:  # why it died is told by its exit code
            told.write(self._told)
        return process


# They outlive whoever is attached; kept so that their ends are noticed.
_hosts: list[subprocess.Popen[bytes]] = []


def read_door(folder: Path) -> Door | None:
    """Where the host of this folder answers, if one has said so."""
    try:
        return msgspec.json.decode((folder / DOOR).read_bytes(), type=Door)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def _hold(folder: Path, tell: Callable[[str], None]) -> IO[bytes]:
    """A shared lock on the folder's `attached`. A host that is about to end has it for itself until then."""
    hold = (folder / "attached").open("ab")
    until = time.monotonic() + _LET_GO_S_MAX
    told = False
    while time.monotonic() < until:
        try:
            fcntl.flock(hold, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            if not told:
                tell("waiting for the engine to put away what was in flight")
                told = True
            time.sleep(_LOOK_S)
        else:
            return hold
    hold.close()
    raise JobError(f"the engine in {folder} does not end; stop the process named in its lock file")


def _is_owned(folder: Path) -> bool:
    """Whether a host has the folder: its lock says so even after a reboot, when its number is another's."""
    with (folder / "lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _last_words(folder: Path) -> str:
    lines = (folder / "log").read_text(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("bulkrate: ") if lines else f"see {folder / 'log'}"

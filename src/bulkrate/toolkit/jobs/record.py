"""How far a job is: one small file, replaced as a whole at every step."""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, cast

import msgspec

from bulkrate.errors import JobError, JobTaken
from bulkrate.toolkit.durable import sync_folder
from bulkrate.toolkit.jobs.spec import JobSpec
from bulkrate.wording import either

_RECORD = "job.json"
#: Of the records that this code writes. A field that is new and has a default needs no other; what older code
#: would read wrongly does.
VERSION = 1
_GLANCE_S_MAX = 0.2


class JobState(StrEnum):
    """Where a job is on its way. The last two are its ends."""

    READING = "reading"
    READY = "ready"
    RUNNING = "running"
    WRITING = "writing"
    DONE = "done"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens unless somebody asks."""
        return self in {JobState.DONE, JobState.CANCELLED}


class Purpose(StrEnum):
    """Why a round of requests is sent."""

    FIRST = "first"
    RETRY = "retry"
    REASK = "reask"
    ESCALATE = "escalate"


class Part(msgspec.Struct, kw_only=True):
    """One input file and the batch that runs it. `key` is committed before the batch is asked for, and is how
    it is found again. `read_output` and `read_errors` are bytes that have been collected and count.
    """

    file: str
    endpoint: str
    requests: int
    key: str
    file_id: str | None = None
    batch_id: str | None = None
    status: str | None = None
    read_output: int = 0
    read_errors: int = 0
    collected: bool = False


class Round(msgspec.Struct, kw_only=True):
    """Requests that are sent together, and why. `model` is set when all go to another model than before."""

    purpose: Purpose
    parts: list[Part]
    model: str | None = None
    done: bool = False


class Tokens(msgspec.Struct):
    """What was bought of one model at one price over all rounds. `unpriced` answers are not in `usd`."""

    requests: int = 0
    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0
    usd: Decimal = Decimal(0)
    unpriced: int = 0


class _Stamp(msgspec.Struct):
    """What is read of a record before all the rest of it."""

    version: int = VERSION


class JobRecord(msgspec.Struct, kw_only=True):
    """A job, whole. Times are Unix seconds. `rows` counts what was read, None until all of it is.

    `answers_bytes` is how much of the answers' log counts. `counts` are of the rows as they stand.
    """

    id: str
    spec: JobSpec
    fingerprint: str
    created_at: float
    version: int = VERSION
    #: A digest of the rows, where nothing else says whether they are the same as another time.
    content: str | None = None
    state: JobState = JobState.READING
    rows: int | None = None
    rounds: list[Round] = []
    answers_bytes: int = 0
    counts: dict[str, int] = {}
    #: By model and by tier of the price.
    tokens: dict[str, dict[str, Tokens]] = {}
    estimate: dict[str, Any] | None = None
    spent: dict[str, Any] | None = None
    where: str | None = None
    server: str | None = None
    #: Why it was stopped, and which of our errors that was.
    trouble: str | None = None
    trouble_kind: str | None = None
    #: Why its batches do not move, or a part of them, for those who look on.
    waiting: str | None = None
    #: Opened again for the rows without an answer; what was tried before no longer counts.
    renewed: bool = False
    renewed_at: int = 0
    #: Asked for anew: nothing is taken over from earlier jobs.
    fresh: bool = False
    #: The result was written once: it is ours to be replaced.
    written: bool = False
    #: The money was agreed to.
    allowed: bool = False
    #: Rows without an answer by the code of their failure, and the values of the column that is counted.
    failures: dict[str, int] = {}
    values: dict[str, int] = {}
    reused: int = 0
    left_out: int = 0
    columns: list[dict[str, Any]] | None = None
    arrow: bytes | None = None
    ended_at: float | None = None
    alerted: list[str] = []

    @property
    def has_lines_out(self) -> bool:
        """Whether a server may be at work on it: it is to be asked before the rest is given up or moved."""
        parts = (part for round_ in self.rounds if not round_.done for part in round_.parts)
        return any(part.file_id is not None and not part.collected for part in parts)


def new_job_id(name: str | None, now: float) -> str:
    """An id that sorts by time and says what it is of: `reviews-20261121-153012-k3f9`."""
    stem = "".join(c if c.isalnum() else "-" for c in (name or "job").lower()).strip("-")[:40] or "job"
    return f"{stem}-{datetime.fromtimestamp(now, UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def doing(what: str, job: str, method: str | None = None) -> str:
    """What to do with a job, as a command and as a method of `Job` (which is called the same unless said)."""
    return either(f"bulkrate {what} {job}", f"Job.from_id({job!r}).{method or what}()")


class JobFolder:
    """The folder of one job, under the state folder `home`."""

    def __init__(self, home: Path, job_id: str) -> None:
        self.id = job_id
        self.path = home / "jobs" / job_id

    def exists(self) -> bool:
        """Whether there is such a job."""
        return (self.path / _RECORD).is_file()

    def make(self) -> None:
        """Make the folder, for this user alone. Raises `JobError`."""
        try:
            self.path.mkdir(mode=0o700, parents=True)
        except OSError as error:
            raise JobError(f"the job's folder {self.path} cannot be made: {error.strerror}") from error

    def load(self) -> JobRecord:
        """The record. Raises `JobError`, also for one that a later version of this code wrote."""
        try:
            told = (self.path / _RECORD).read_bytes()
            version = msgspec.json.decode(told, type=_Stamp).version
            if version > VERSION:
                raise JobError(
                    f"the record of job {self.id} is of version {version}, and this bulkrate reads version "
                    f"{VERSION}; go on with the bulkrate that wrote it, or a newer one"
                )
            return msgspec.json.decode(told, type=JobRecord)
        except FileNotFoundError:
            raise JobError(f"there is no job {self.id}; `bulkrate jobs` lists them") from None
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise JobError(
                f"the record of job {self.id} cannot be read: {error}; if it is of no more use, delete the "
                f"folder {self.path}"
            ) from error

    def save(self, record: JobRecord) -> None:
        """Put the record in place of the one before, durably. Raises `JobError`."""
        scratch = self.path / f".{_RECORD}"
        try:
            with scratch.open("wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(record)))
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(self.path / _RECORD)
            sync_folder(self.path)
        except OSError as error:
            raise JobError(f"the record of job {self.id} cannot be written: {error.strerror}") from error

    @contextmanager
    def driven(self) -> Iterator[None]:
        """While this is entered, nobody else moves the job on. Raises `JobTaken` when somebody does."""
        with self._lock("a+") as lock:
            if not _taken(lock):
                lock.seek(0)
                owner = lock.read().strip() or "unknown"
                raise JobTaken(
                    f"job {self.id} is being run by process {owner}; "
                    f"follow it with: {doing('watch', self.id, 'wait')}"
                )
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
            self._stop.unlink(missing_ok=True)
            yield

    def ask_to_stop(self) -> None:
        """Let whoever moves the job on stop at the next look."""
        self._stop.touch()

    def is_to_stop(self) -> bool:
        """Whether somebody asked for that."""
        return self._stop.exists()

    @property
    def _stop(self) -> Path:
        return self.path / "stop"

    def driver(self) -> int | None:
        """The process that moves the job on right now, if there is one."""
        if not self.is_driven():
            return None
        text = (self.path / "lock").read_text(encoding="ascii").strip()
        return int(text) if text.isdecimal() else None

    def is_driven(self) -> bool:
        """Whether a process moves the job on right now."""
        with self._lock("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return True
        return False

    def _lock(self, mode: str) -> IO[str]:
        try:
            return cast("IO[str]", (self.path / "lock").open(mode, encoding="ascii"))
        except OSError as error:
            raise JobError(
                f"the folder {self.path} of job {self.id} cannot be used: {error.strerror}"
            ) from error


def _taken(lock: IO[str]) -> bool:
    """Whether the lock is ours now. One who only looks holds it for a moment, and is waited for."""
    until = time.monotonic() + _GLANCE_S_MAX
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > until:
                return False
            time.sleep(_GLANCE_S_MAX / 10)
        else:
            return True


@contextmanager
def beginning(home: Path) -> Iterator[None]:
    """While this is entered, nobody else begins a job under `home`: two who ask the same find one job."""
    jobs = home / "jobs"
    try:
        jobs.mkdir(parents=True, exist_ok=True)
        handle = os.open(jobs, os.O_RDONLY)
    except OSError as error:
        raise JobError(f"the folder for jobs {jobs} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def job_folders(home: Path) -> list[JobFolder]:
    """Every job under `home`, oldest first."""
    touched = {}
    try:
        for entry in (home / "jobs").iterdir():
            with suppress(FileNotFoundError, NotADirectoryError):  # it is being made, or removed
                touched[entry.name] = (entry / _RECORD).stat().st_ctime
    except FileNotFoundError:
        return []
    except OSError as error:
        raise JobError(f"the jobs under {home} cannot be read: {error.strerror}") from error
    return [JobFolder(home, name) for name in sorted(touched, key=lambda name: touched[name])]

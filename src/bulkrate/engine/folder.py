"""The data folder: made at its first use, and owned by one server at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bulkrate.config import Settings
from bulkrate.errors import ConfigError, FolderInUse


def data_folder(settings: Settings) -> Path:
    """The data folder, made at its first use. Raises `ConfigError`."""
    data = Path(settings.data)
    try:
        # Prompts, answers and signing secrets lie here: nobody else's business.
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as cause:
        raise ConfigError(
            f"the data folder {data} cannot be made: {cause.strerror}; name another with --data"
        ) from cause
    if not os.access(data, os.W_OK | os.X_OK):
        raise ConfigError(f"the data folder {data} cannot be written to; name another with --data")
    return data


@contextmanager
def owned(data: Path) -> Iterator[None]:
    """Own a data folder: two servers on one folder would each think the other dead. Raises `FolderInUse`."""
    with (data / "lock").open("a+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            raise FolderInUse(
                f"the data folder {data} is in use by another server (process {owner}); "
                "stop that one, or name another folder with --data"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield

"""All jobs under one state folder: listed, found, removed. Nothing here moves a job on."""

from __future__ import annotations

import difflib
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from bulkrate.errors import JobError
from bulkrate.toolkit.jobs.record import JobFolder, JobRecord, job_folders
from bulkrate.toolkit.jobs.reuse import forget


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=2)


class Catalogue:
    """The jobs under `home`. `warn` is told, once each, of those that are passed over because their records
    cannot be read.
    """

    def __init__(self, home: Path, warn: Callable[[str], None] | None = None) -> None:
        self.home = home
        self._warn = warn or _warn
        self._passed_over: set[str] = set()

    def __iter__(self) -> Iterator[tuple[JobFolder, JobRecord]]:
        """Every job, that which was touched last at the end."""
        for folder in job_folders(self.home):
            try:
                yield folder, folder.load()
            except JobError as error:
                if folder.exists() and folder.id not in self._passed_over:
                    self._passed_over.add(folder.id)
                    self._warn(f"passed over: {error}")

    def records(self) -> list[JobRecord]:
        """Every job, oldest first."""
        return sorted((record for _, record in self), key=lambda record: record.created_at)

    def runs(self, name: str) -> Iterator[JobRecord]:
        """The jobs of this name."""
        return (record for _, record in self if record.spec.name == name)

    def same(self, record: JobRecord) -> JobFolder | None:
        """The newest other job that asks the same of the same rows."""
        for folder, other in reversed(list(self)):
            if other.id != record.id and (other.fingerprint, other.content) == (
                record.fingerprint,
                record.content,
            ):
                return folder
        return None

    def find(self, name: str) -> JobFolder:
        """The job that `name` means: its id, how that begins, or the name of a job (then its newest run).

        Raises `JobError`, also when it could mean several.
        """
        folders = job_folders(self.home)
        if exact := [folder for folder in folders if folder.id == name]:
            return exact[0]
        known = list(self)
        named = [folder for folder, record in known if record.spec.name == name]
        if named:
            return named[-1]
        begun = [folder for folder in folders if folder.id.startswith(name)]
        if len(begun) == 1:
            return begun[0]
        if begun:
            raise JobError(f"{name!r} may mean {len(begun)} jobs: {', '.join(f.id for f in begun[-5:])}")
        names = {folder.id for folder in folders} | {record.spec.name or "" for _, record in known}
        near = difflib.get_close_matches(name, names, n=3)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "`bulkrate jobs` lists them"
        raise JobError(f"there is no job {name!r} under {self.home}; {hint}")

    def newest(self) -> JobFolder:
        """The job that was touched last. Raises `JobError` when there is none."""
        folders = job_folders(self.home)
        if not folders:
            raise JobError(f"there are no jobs under {self.home}")
        return folders[-1]

    def remove(self, folder: JobFolder) -> None:
        """Delete a job with its rows and answers. Raises `JobError` while it is being moved on."""
        with folder.driven():
            forget(self.home, folder.id)
            self.clear(folder)

    def clear(self, folder: JobFolder) -> None:
        """Delete what never came to be a job. The caller holds `folder.driven()`."""
        shutil.rmtree(folder.path)

    def tidy(self) -> None:
        """Remove the state folder if there is nothing in it."""
        with suppress(OSError):  # there is
            (self.home / "jobs").rmdir()
            self.home.rmdir()

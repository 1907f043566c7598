"""Documents into a folder: one file for each group, and an index that says which is whose.

All of it is written beside the folder and takes its place at once; until then what was there stays. A group
whose row failed has no document: it stands in the index without a file.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
import unicodedata
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from bulkrate.errors import SinkError
from bulkrate.toolkit import json_text
from bulkrate.toolkit.durable import sync_folder
from bulkrate.toolkit.recipes.report import ROWS
from bulkrate.toolkit.rows.table import Row, Table

INDEX = "index.csv"
_NAME_BYTES_MAX = 120  # file systems take 255; room for a number and the suffix, also when encrypted
_UNSAFE = re.compile(r"[^\w.-]+")
# Windows opens devices under these names, whatever the suffix.
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)", re.IGNORECASE)


class ReportFolder:
    """A sink for the rows of a report: `by` are the columns that name a file, `document` the one it holds.

    An existing folder that is not empty is refused, unless `overwrite`: then it is replaced as a whole.
    """

    def __init__(
        self,
        folder: Path,
        *,
        by: Sequence[str],
        document: str = "report",
        suffix: str = ".md",
        overwrite: bool = False,
    ) -> None:
        self.name = str(folder)
        self._folder = folder.absolute()
        self._new = self._folder.with_name(f".{self._folder.name}.new")
        self._old = self._folder.with_name(f".{self._folder.name}.old")
        self._by = tuple(by)
        self._document = document
        self._suffix = suffix
        self._overwrite = overwrite
        self._index: TextIOWrapper | None = None

    def open(self, table: Table) -> None:
        """Begin. Raises `SinkError` when the folder cannot be made or holds something already."""
        names = {column.name for column in table.columns}
        for name in (*self._by, self._document):
            if name not in names:
                raise SinkError(
                    f"{self.name}: there is no column {name!r} to write; there are {sorted(names)}"
                )
        self._told = [c.name for c in table.columns if c.name not in (self._document, ROWS)]
        try:
            self._restore()
            if self._folder.exists() and not self._folder.is_dir():
                raise SinkError(f"{self.name} is a file; name a folder for the documents")
            if not self._overwrite and self._folder.exists() and any(self._folder.iterdir()):
                raise SinkError(f"{self.name} is there already and not empty; name another, or overwrite it")
            shutil.rmtree(self._new, ignore_errors=True)
            self._new.mkdir(parents=True)
            self._index = (self._new / INDEX).open("x", encoding="utf-8", newline="")
            csv.writer(self._index).writerow([*self._told, "file"])
        except OSError as error:
            raise self._failed(error) from error

    def write(self, rows: Sequence[Row]) -> None:
        """One file for each row that has a document. Raises `SinkError`."""
        if self._index is None:
            raise SinkError(f"{self.name}: nothing was begun")
        try:
            index = csv.writer(self._index)
            for row in rows:
                document = row.get(self._document)
                file = self._keep(row, str(document)) if document is not None else ""
                index.writerow([*(_cell(row.get(name)) for name in self._told), file])
        except OSError as error:
            raise self._failed(error) from error

    def commit(self) -> None:
        """Put the new folder where the old one was. Raises `SinkError`."""
        if self._index is None:
            raise SinkError(f"{self.name}: nothing was begun")
        try:
            _sync(self._index)
            self._index.close()
            self._index = None
            sync_folder(self._new)
            if self._folder.exists():
                shutil.rmtree(self._old, ignore_errors=True)
                self._folder.rename(self._old)
            self._new.rename(self._folder)
            sync_folder(self._folder.parent)
            shutil.rmtree(self._old, ignore_errors=True)
        except OSError as error:
            raise self._failed(error) from error

    def discard(self) -> None:
        """Leave the folder as it was. Raises `SinkError` when it cannot be given its name back."""
        if self._index is not None:
            self._index.close()
            self._index = None
        shutil.rmtree(self._new, ignore_errors=True)
        try:
            self._restore()
        except OSError as error:
            raise self._failed(error) from error

    def _restore(self) -> None:
        """A process that died between the two renames left the old folder under its other name."""
        if self._old.exists() and not self._folder.exists():
            self._old.rename(self._folder)

    def _keep(self, row: Row, document: str) -> str:
        """Write one document; the name of its file."""
        stem = file_stem([row.get(name) for name in self._by])
        attempt = 1
        while True:
            name = f"{stem}{f'-{attempt}' if attempt > 1 else ''}{self._suffix}"
            try:
                file = (self._new / name).open("x", encoding="utf-8", errors="replace", newline="\n")
            except FileExistsError:
                attempt += 1  # ends: there are no more files than groups
                continue
            with file:
                file.write(document if document.endswith("\n") else document + "\n")
                _sync(file)
            return name

    def _failed(self, error: OSError) -> SinkError:
        return SinkError(f"{self.name} cannot be written: {error.strerror or error}")


def file_stem(group: Sequence[Any]) -> str:
    """A file name without suffix: letters, digits, `.`, `_` and `-` of the group's cells, never hidden."""
    text = unicodedata.normalize("NFKC", "-".join(_cell(cell) for cell in group))
    stem = _UNSAFE.sub("-", text).strip("-.") or "group"
    stem = stem.encode(errors="ignore")[:_NAME_BYTES_MAX].decode(errors="ignore").rstrip("-.")
    return f"{stem}_" if _DEVICES.match(stem) else stem


def _cell(cell: Any) -> str:
    if cell is None:
        return ""
    return json_text.whole(cell) if isinstance(cell, str) else json_text.encode(cell).decode().strip('"')


def _sync(file: TextIOWrapper) -> None:
    file.flush()
    os.fsync(file.fileno())

"""Rows into files of requests, cut to what the server takes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

from bulkrate.core.body import on_one_line
from bulkrate.errors import RecipeError, StoreError
from bulkrate.toolkit.jobs.record import Part
from bulkrate.toolkit.places.place import Cut
from bulkrate.toolkit.recipes.base import Again, Recipe
from bulkrate.toolkit.rows.table import Row


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A row to be sent. `again` when its last answer was not as asked."""

    number: int
    row: Row
    model: str
    again: Again | None = None
    alone: bool = False


class Addressed(msgspec.Struct, frozen=True, kw_only=True):
    """A request for the rows from `first` on, as it will stand in the file."""

    first: int
    rows: tuple[Row, ...]
    model: str
    endpoint: str
    body: bytes


def requests_of(
    recipe: Recipe, wanted: Iterable[Wanted], *, unfit: Callable[[int, RecipeError], None]
) -> Iterator[Addressed]:
    """The requests for these rows, in their order. Neighbours share one where the recipe can.

    `unfit` is told of rows that no request can be made of.
    """
    for group in _groups(wanted, recipe.rows_per_request):
        try:
            yield _addressed(recipe, group)
        except RecipeError:
            for each in group:  # one that does not fit must not take its neighbours along
                try:
                    yield _addressed(recipe, [each])
                except RecipeError as error:
                    unfit(each.number, error)


def _addressed(recipe: Recipe, group: list[Wanted]) -> Addressed:
    first = group[0]
    rows = tuple(each.row for each in group)
    body = recipe.body(rows, first.model, first.again)
    return Addressed(first=first.number, rows=rows, model=first.model, endpoint=recipe.endpoint, body=body)


def custom_id_of(first: int, rows: int) -> str:
    """The `custom_id` of a request: its first row, and how many it has if these are more than one."""
    return str(first) if rows == 1 else f"{first}+{rows}"


def rows_in(custom_id: str) -> range:
    """The row numbers that a `custom_id` of ours stands for. Raises `ValueError`."""
    first, _, count = custom_id.partition("+")
    rows = range(int(first), int(first) + int(count or 1))
    if not rows or custom_id_of(rows.start, len(rows)) != custom_id:
        raise ValueError(custom_id)  # 1_0 and " 7" are numbers to Python, and none of ours
    return rows


class PartWriter:
    """Writes requests into files of a folder, a new one whenever the cut asks for it. Raises `StoreError`."""

    def __init__(self, folder: Path, stem: str, cut: Cut, key: str) -> None:
        self.parts: list[Part] = []
        self._folder = folder
        self._stem = stem
        self._cut = cut
        self._key = key
        self._open: dict[tuple[str, str], _OpenPart] = {}

    def write(self, request: Addressed) -> None:
        """Add one request."""
        line = line_of(request)
        place = (request.endpoint, request.model if self._cut.one_model else "")
        part = self._open.get(place)
        if part is None or not part.has_room(len(line), self._cut):
            if part is not None:
                part.close()
            part = self._open[place] = self._begin(request.endpoint)
        part.write(line)

    def close(self) -> list[Part]:
        """All parts, durable."""
        for part in self._open.values():
            part.close()
        return self.parts

    def _begin(self, endpoint: str) -> _OpenPart:
        number = len(self.parts) + 1
        name = f"{self._stem}.{number}.jsonl"
        part = Part(file=name, endpoint=endpoint, requests=0, key=f"{self._key}-{number}")
        self.parts.append(part)
        with _translated(self._folder / name):
            return _OpenPart(part, (self._folder / name).open("wb"))


class _OpenPart:
    """A part that still takes lines."""

    def __init__(self, part: Part, file: IO[bytes]) -> None:
        self.part = part
        self._file = file
        self._name = Path(file.name)
        self._bytes = 0

    def has_room(self, length: int, cut: Cut) -> bool:
        return self.part.requests < cut.lines and self._bytes + length <= cut.bytes

    def write(self, line: bytes) -> None:
        with _translated(self._name):
            self._file.write(line)
        self._bytes += len(line)
        self.part.requests += 1

    def close(self) -> None:
        with _translated(self._name), self._file as file:
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from error


def line_of(request: Addressed) -> bytes:
    """A request as a line of an input file."""
    custom_id = custom_id_of(request.first, len(request.rows)).encode()
    url = msgspec.json.encode(request.endpoint)
    body = on_one_line(request.body)
    return b'{"custom_id":"%b","method":"POST","url":%b,"body":%b}\n' % (custom_id, url, body)


def _groups(wanted: Iterable[Wanted], size: int) -> Iterator[list[Wanted]]:
    """Rows that share a request: neighbours without a gap, for one model."""
    group: list[Wanted] = []
    for each in wanted:
        if group and not (
            len(group) < size
            and each.number == group[-1].number + 1
            and each.model == group[0].model
            and each.again is None
            and group[0].again is None
            and not each.alone
            and not group[0].alone
        ):
            yield group
            group = []
        group.append(each)
    if group:
        yield group

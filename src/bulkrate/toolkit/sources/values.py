"""Rows that are Python values already: objects by column name, or texts, which become the column `text`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any

from bulkrate.errors import SourceError
from bulkrate.toolkit.rows.plain import plain
from bulkrate.toolkit.rows.table import Column, Row


class Values:
    """A list, or anything else that can be gone through again."""

    arrow = None

    def __init__(self, items: Iterable[Any]) -> None:
        self._items = items
        self.name = type(items).__name__
        self.length = len(items) if isinstance(items, Sized) else None

    @property
    def columns(self) -> tuple[Column, ...] | None:
        """All columns that a row names, in the order in which they are first named."""
        names = {name: None for item in self._items if isinstance(item, Mapping) for name in item}
        if any(isinstance(item, str) for item in self._items):
            names.setdefault("text")
        return tuple(Column(name=str(name)) for name in names)

    def mark(self) -> None:
        """Nobody can tell."""

    def rows(self) -> Iterator[Row]:
        """All rows. Raises `SourceError`, naming the item."""
        return _rows(self._items, self.name)


class Once:
    """A generator or another iterator: its rows can be had one time."""

    arrow = None
    columns = None
    length = None

    def __init__(self, items: Iterator[Any]) -> None:
        self._items: Iterator[Any] | None = items
        self.name = type(items).__name__

    def mark(self) -> None:
        """Nobody can tell."""

    def rows(self) -> Iterator[Row]:
        """All rows. Raises `SourceError`, naming the item, or when they were asked for before."""
        if self._items is None:
            raise SourceError(
                f"the rows of a {self.name} can be had only once; give a list to have them again"
            )
        items, self._items = self._items, None
        return _rows(items, self.name)


def _rows(items: Iterable[Any], name: str) -> Iterator[Row]:
    for number, item in enumerate(items, start=1):
        if isinstance(item, str):
            yield {"text": plain(item)}
            continue
        if not isinstance(item, Mapping):
            raise SourceError(
                f"{name}, row {number} is a {type(item).__name__}; a row is an object or a text"
            )
        yield {
            _name(key, f"{name}, row {number}"): _cell(key, item[key], f"{name}, row {number}")
            for key in item
        }


def _name(key: Any, where: str) -> str:
    if isinstance(key, str):
        return key
    raise SourceError(f"{where} has a column named by a {type(key).__name__}; names are texts")


def _cell(name: str, value: Any, where: str) -> Any:
    try:
        return plain(value)
    except (TypeError, RecursionError) as fault:
        raise SourceError(f"{where}, column {name!r}: {fault}") from fault

"""The rows of a job, read once and kept: from then on the source is not needed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec

from bulkrate.errors import RecipeError, SourceError
from bulkrate.toolkit.jobs.record import JobRecord
from bulkrate.toolkit.recipes.base import Recipe
from bulkrate.toolkit.rows.lineage import distinct, key_of
from bulkrate.toolkit.rows.snapshot import RowLog
from bulkrate.toolkit.rows.table import Column, Row
from bulkrate.toolkit.sources.base import Source
from bulkrate.wording import either

_ROWS_AT_ONCE = 1_000


def rows_path(folder: Path) -> Path:
    """Where the rows of a job are kept."""
    return folder / "rows"


def content_of(folder: Path) -> str:
    """A digest of the rows that are kept there."""
    with rows_path(folder).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def read_rows(source: Source, recipe: Recipe, record: JobRecord, folder: Path) -> None:
    """Keep all rows of `source`, and note in `record` how many there are and what columns they have.

    Raises `SourceError` for rows that cannot be read or told apart, `RecipeError` when the first row does not
    have what the recipe asks for.
    """
    names: dict[str, None] = {}
    rows = _keyed(_seen(source.rows(), names), record, recipe)
    with RowLog(rows_path(folder), rows=0) as log:
        first = next(rows, None)
        if first is None:
            raise SourceError(f"{source.name} has no rows; there is nothing to do")
        if recipe.skip(first) is None:
            recipe.body([first], "model")
        log.append([first])
        while group := list(islice(rows, _ROWS_AT_ONCE)):
            log.append(group)
        record.rows, _ = log.commit()
    known = {column.name: column for column in source.columns or ()}
    columns = [known.get(name) or Column(name=name) for name in {**dict.fromkeys(known), **names}]
    record.columns = [msgspec.to_builtins(column) for column in columns]
    record.arrow = source.arrow
    _refuse_clash(columns, recipe)


def columns_of(record: JobRecord) -> tuple[Column, ...]:
    """The source's columns, as they were noted."""
    return tuple(msgspec.convert(column, Column) for column in record.columns or ())


def _seen(rows: Iterator[Row], names: dict[str, None]) -> Iterator[Row]:
    """Pass rows on, noting every column in the order in which it is first seen."""
    for row in rows:
        if not row.keys() <= names.keys():
            names.update(dict.fromkeys(row))
        yield row


def _keyed(rows: Iterator[Row], record: JobRecord, recipe: Recipe) -> Iterator[Row]:
    """Pass rows on, and raise `SourceError` at the end if two of them have the same key."""
    keys = record.spec.keys or (("custom_id",) if recipe.name == "requests" else ())
    if not keys:
        yield from rows
        return
    passed: list[Row] = []

    def key() -> Iterator[str]:
        for row in rows:
            passed.append(row)
            yield key_of(row, keys)

    for _ in distinct(key(), keys):
        yield passed.pop()


def _refuse_clash(columns: list[Column], recipe: Recipe) -> None:
    there = {column.name for column in columns}
    for column in recipe.columns:
        if column.name in there and recipe.name != "requests":
            raise RecipeError(
                f"the rows have a column {column.name!r} already, where the answers were to go; "
                f"name another for them with {either('--answer', 'answer=')}"
            )

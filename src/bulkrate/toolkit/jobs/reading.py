"""The rows of a job, read once and kept: from then on the source is not needed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import msgspec

from bulkrate.errors import RecipeError, SourceError
from bulkrate.toolkit.jobs.record import JobRecord
from bulkrate.toolkit.jobs.rounds import model_of
from bulkrate.toolkit.jobs.spec import JobSpec
from bulkrate.toolkit.jobs.writing import ERROR, STATUS
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
    have what the recipe asks for, when a row names no model where it has to, and as `hold_to_columns`.
    """
    names: dict[str, None] = {}
    rows = _keyed(_addressed(_seen(source.rows(), names), record, recipe), record, recipe)
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
    hold_to_columns(record.spec, recipe, [column.name for column in columns])


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


def _addressed(rows: Iterator[Row], record: JobRecord, recipe: Recipe) -> Iterator[Row]:
    """Pass rows on, and raise `RecipeError` at the first that is to be sent and is for no model."""
    if record.spec.model.model is not None:
        yield from rows
        return
    for number, row in enumerate(rows, start=1):
        try:
            model_of(record.spec.model, row)
        except RecipeError as error:
            if recipe.skip(row) is None:
                raise RecipeError(f"row {number}: {error.wording}") from error
        yield row


def hold_to_columns(spec: JobSpec, recipe: Recipe, names: Sequence[str]) -> None:
    """Hold a job to the columns of its rows: what picks the model has to be there, and what the answers add
    must not, nor stand where it is told what became of a row. Raises `RecipeError`.
    """
    if recipe.name == "requests":
        return
    picks = [rule.column for rule in spec.model.rules]
    if spec.model.column is not None:
        picks.append(spec.model.column)
    for name in picks:
        if name not in names:
            raise RecipeError(
                f"there is no column {name!r} to pick the model by; there are {', '.join(names)}"
            )
    told = {STATUS, ERROR} if spec.sink.options.get("status", True) else set()
    for name in (each for column in recipe.columns for each in (column.name, column.scale) if each):
        if name in told:
            raise RecipeError(
                f"the answers were to go into a column {name!r}, which tells what became of each row; "
                f"name another for them with {either('--answer', 'answer=')}"
            )
        if name in names:
            raise RecipeError(
                f"the rows have a column {name!r} already, where the answers were to go; "
                f"name another for them with {either('--answer', 'answer=')}"
            )

"""Answers joined to their rows, in the order of the source."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from bulkrate.toolkit.jobs.answers import Answers, Outcome, Status
from bulkrate.toolkit.recipes.base import Recipe
from bulkrate.toolkit.rows.snapshot import RowLog, decoded
from bulkrate.toolkit.rows.table import Column, Row, Table
from bulkrate.toolkit.sinks.base import Sink

#: What became of the row, and why, beside its answer.
STATUS, ERROR = "_status", "_error"
_ROWS_AT_ONCE = 1_000
_LINE_COLUMNS = tuple(Column(name=name, kind="json") for name in ("id", "custom_id", "response", "error"))


def table_of(
    recipe: Recipe,
    columns: tuple[Column, ...],
    *,
    arrow: bytes | None,
    keys: tuple[str, ...],
    dimensions: int | None,
    told: bool,
) -> Table:
    """The shape of what is written. `told`: whether each row says what became of it; where the rows are an
    earlier result, that takes the place of what became of them then.
    """
    if recipe.name == "requests":
        return Table(columns=_LINE_COLUMNS)
    added = [
        msgspec.structs.replace(column, dimensions=dimensions) if column.kind == "vector" else column
        for column in recipe.columns
    ]
    if told:
        columns = tuple(column for column in columns if column.name not in {STATUS, ERROR})
        arrow = _without(arrow, STATUS, ERROR)
        added += [Column(name=STATUS, kind="text"), Column(name=ERROR, kind="text")]
    return Table(columns=(*columns, *added), arrow=arrow, keys=keys)


def _without(told: bytes | None, *names: str) -> bytes | None:
    if told is None:
        return None
    from bulkrate.toolkit.rows import arrow  # noqa: PLC0415 they have a schema, so Arrow is there

    schema = arrow.schema_of(told)
    for name in set(names).intersection(schema.names):
        schema = schema.remove(schema.get_field_index(name))
    return arrow.schema_bytes(schema)


def joined(recipe: Recipe, rows: RowLog, answers: Answers, *, told: bool) -> Iterator[Row]:
    """Every row with its answer."""
    if recipe.name == "requests":
        yield from _lines(rows, answers)
        return
    empty = {column.name: None for column in recipe.columns}
    for number, row in enumerate(rows.rows()):
        outcome = answers.get(number)
        cells = empty
        if outcome is not None and outcome.status == Status.ANSWERED and outcome.cells is not None:
            cells = empty | decoded(outcome.cells)
        out = row | cells
        if told:
            out[STATUS] = (Status(outcome.status) if outcome else Status.PENDING).name.lower()
            out[ERROR] = why(outcome)
        yield out


def write(sink: Sink, table: Table, rows: Iterator[Row]) -> None:
    """Put all rows into `sink`, and make them visible at once. Raises `SinkError`, leaving things as they
    were.
    """
    sink.open(table)
    try:
        group: list[Row] = []
        for row in rows:
            group.append(row)
            if len(group) >= _ROWS_AT_ONCE:
                sink.write(group)
                group = []
        if group:
            sink.write(group)
        sink.commit()
    except BaseException:
        sink.discard()
        raise


def why(outcome: Outcome | None) -> str | None:
    """Why a row has no answer, in one text; None when it has one."""
    if outcome is None or outcome.status == Status.ANSWERED:
        return None
    return f"{outcome.code}: {outcome.message}" if outcome.code else outcome.message


def _lines(rows: RowLog, answers: Answers) -> Iterator[Row]:
    """OpenAI's output lines, for requests that were run as they are."""
    for number, row in enumerate(rows.rows()):
        outcome = answers.get(number)
        kept: dict[str, Any] = decoded(outcome.cells) if outcome and outcome.cells else {}
        error = kept.get("error") or msgspec.json.encode(
            {
                "code": (outcome and outcome.code) or "missing",
                "message": (outcome and outcome.message) or "the line was not run",
            }
        )
        yield {
            "id": f"batch_req_{number:024x}",
            "custom_id": row["custom_id"],
            "response": msgspec.Raw(kept.get("response", b"null")),
            "error": msgspec.Raw(error),
        }

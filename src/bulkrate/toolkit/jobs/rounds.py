"""Which rows are sent next, and why: decided from what has come back, one round after the other."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bulkrate.errors import RecipeError
from bulkrate.toolkit.jobs.answers import Answers, Outcome, Status
from bulkrate.toolkit.jobs.collect import INVALID
from bulkrate.toolkit.jobs.record import JobRecord, Purpose
from bulkrate.toolkit.jobs.spec import ModelAsk
from bulkrate.toolkit.rows.table import Row
from bulkrate.wording import either


@dataclass(frozen=True, slots=True)
class NextRound:
    """The rows to send. `model` is set when all of them go to that one."""

    purpose: Purpose
    rows: Sequence[int]
    model: str | None = None


def next_round(record: JobRecord, answers: Answers) -> NextRound | None:
    """What to send after all rounds so far are done; None when nothing is left to send.

    Failures that may pass are tried again first, then answers that were not as asked are asked for again,
    then what is left goes to a better model.
    """
    rows: Sequence[int]
    if record.renewed:
        rows = _numbers(answers.of_status(Status.PENDING, Status.FAILED, Status.INVALID))
        return NextRound(Purpose.RETRY, rows) if rows else None
    if not record.rounds:
        none_yet = answers.counts[Status.PENDING] == len(answers)
        rows = range(len(answers)) if none_yet else _numbers(answers.of_status(Status.PENDING))
        return NextRound(Purpose.FIRST, rows) if rows else None
    return _after(record, answers)


def _after(record: JobRecord, answers: Answers) -> NextRound | None:
    spec = record.spec
    had = [each.purpose for each in record.rounds[record.renewed_at :]]
    tries_left = had.count(Purpose.RETRY) < spec.retries
    # A row whose neighbours may have brought it down was not tried yet, and by itself it is tried once.
    rows = _numbers(
        row
        for row, outcome in _of(answers, Status.FAILED)
        if outcome.alone or (outcome.retryable and tries_left)
    )
    if rows:
        return NextRound(Purpose.RETRY, rows, record.rounds[-1].model)
    if had.count(Purpose.REASK) < spec.reask:
        # A model that does not want to answer will not want to the next time.
        rows = _numbers(row for row, outcome in _of(answers, Status.INVALID) if outcome.code == INVALID)
        if rows:
            return NextRound(Purpose.REASK, rows, record.rounds[-1].model)
    escalated = had.count(Purpose.ESCALATE)
    if escalated < len(spec.model.escalate):
        wanted = (row for row in range(len(answers)) if _wants_better(answers, row, spec.model))
        if rows := _numbers(wanted):
            return NextRound(Purpose.ESCALATE, rows, spec.model.escalate[escalated])
    return None


def model_of(ask: ModelAsk, row: Row) -> str:
    """The model that a row is for. Raises `RecipeError` when none is named."""
    for rule in ask.rules:
        if str(row.get(rule.column)) == rule.value:
            return rule.model
    named = row.get(ask.column) if ask.column is not None else None
    if isinstance(named, str) and named:
        return named
    if ask.model is None:
        raise RecipeError(
            f"column {ask.column!r} names no model for it, and there is none for all rows; "
            f"give that with {either('--model', 'model=')}"
        )
    return ask.model


def _numbers(rows: Iterable[int]) -> Sequence[int]:
    # Eight bytes each: a list of a million numbers takes five times as much.
    return array("Q", rows)


def _of(answers: Answers, status: Status) -> Iterator[tuple[int, Outcome]]:
    for row in answers.of_status(status):
        outcome = answers.get(row)
        if outcome is not None:
            yield row, outcome


def _wants_better(answers: Answers, row: int, ask: ModelAsk) -> bool:
    status = answers.status(row)
    if status in {Status.FAILED, Status.INVALID}:
        return True
    if status is not Status.ANSWERED or ask.confidence_min is None:
        return False
    outcome = answers.get(row)
    return outcome is not None and outcome.confidence is not None and outcome.confidence < ask.confidence_min

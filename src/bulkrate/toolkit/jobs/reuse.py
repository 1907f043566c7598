"""Rows that an earlier job answered: their answers are taken over, and nothing is sent for them."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bulkrate.errors import JobError, RecipeError
from bulkrate.toolkit.jobs.answers import Answers, Outcome, Status
from bulkrate.toolkit.jobs.record import JobFolder, JobRecord
from bulkrate.toolkit.jobs.rounds import model_of
from bulkrate.toolkit.recipes.base import Recipe
from bulkrate.toolkit.rows.lineage import Lineage, content_hash, key_of
from bulkrate.toolkit.rows.snapshot import RowLog

_OPEN_JOBS_MAX = 8


def take_over(record: JobRecord, home: Path, recipe: Recipe, rows: RowLog, answers: Answers) -> int:
    """Add to `answers` what earlier jobs answered to the same rows; how many these are."""
    taken = 0
    if not _path(home).exists():
        return taken
    with Lineage(_path(home)) as lineage, _Earlier(home) as earlier:
        asked = ((key, digest) for _, key, digest in _asked(record, recipe, rows))
        places = lineage.known(_scope(record), asked)
        for (number, _, _), place in zip(_asked(record, recipe, rows), places, strict=True):
            outcome = earlier.outcome(place.job_id, place.row_number) if place else None
            if outcome is not None and answers.status(number) is Status.PENDING:
                answers.add([msgspec.structs.replace(outcome, row=number, attempts=0, reused=True)])
                taken += 1
    return taken


def remember(record: JobRecord, home: Path, recipe: Recipe, rows: RowLog, answers: Answers) -> None:
    """Let later jobs take over what this one answered."""
    with Lineage(_path(home)) as lineage:
        lineage.remember(
            _scope(record),
            record.id,
            (
                (key, digest, number)
                for number, key, digest in _asked(record, recipe, rows)
                if answers.status(number) is Status.ANSWERED
            ),
        )


def forget(home: Path, job_id: str) -> None:
    """The job's answers are about to be deleted."""
    if _path(home).exists():
        with Lineage(_path(home)) as lineage:
            lineage.forget(job_id)


def _asked(record: JobRecord, recipe: Recipe, rows: RowLog) -> Iterator[tuple[int, str, bytes]]:
    """Row number, key, and a hash of what is asked, for every row that can be asked."""
    for number, row in enumerate(rows.rows()):
        if recipe.skip(row) is not None:
            continue
        try:
            model = model_of(record.spec.model, row)
            body = recipe.body([row], model)
        except RecipeError:
            continue  # told when the requests are made
        yield number, key_of(row, record.spec.keys), content_hash(recipe.endpoint, model, body)


def _scope(record: JobRecord) -> str:
    """Jobs of one name share their answers; without a name, those that ask the same. What a sandbox said is
    no answer elsewhere.
    """
    scope = record.spec.name or _digest(msgspec.json.encode(record.spec.asking, order="deterministic"))
    return scope if record.spec.place.sandbox is None else _digest(b"sandbox " + scope.encode())


def _digest(what: bytes) -> str:
    return hashlib.sha256(what).hexdigest()


def _path(home: Path) -> Path:
    return home / "lineage.db"


class _Earlier:
    """The answers of earlier jobs, a few of them open at a time."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._open: OrderedDict[str, Answers | None] = OrderedDict()

    def __enter__(self) -> _Earlier:
        return self

    def __exit__(self, *_: object) -> None:
        for answers in self._open.values():
            if answers is not None:
                answers.close()

    def outcome(self, job_id: str, row: int) -> Outcome | None:
        """The answer to a row of a job; None when it is gone."""
        if job_id not in self._open:
            self._open[job_id] = self._load(job_id)
            if len(self._open) > _OPEN_JOBS_MAX:
                _, oldest = self._open.popitem(last=False)
                if oldest is not None:
                    oldest.close()
        answers = self._open[job_id]
        if answers is None or row >= len(answers):
            return None
        outcome = answers.get(row)
        return outcome if outcome is not None and outcome.status == Status.ANSWERED else None

    def _load(self, job_id: str) -> Answers | None:
        folder = JobFolder(self._home, job_id)
        try:
            record = folder.load()
        except JobError:
            return None
        if record.rows is None:
            return None
        return Answers(folder.path, rows=record.rows, committed=record.answers_bytes, writable=False)

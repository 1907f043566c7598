"""Moves a job on from wherever it is to its end.

    reading -> ready -> running -> writing -> done

Called again after any interruption, it goes on with what the record says. What it decides is elsewhere: which
rows next (`rounds`), what a line means (`collect`).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import msgspec

from bulkrate.engine.points import reach
from bulkrate.errors import BulkrateError, JobError, RecipeError
from bulkrate.toolkit.jobs import alarm
from bulkrate.toolkit.jobs.answers import Answers, Outcome, Status
from bulkrate.toolkit.jobs.collect import Collector
from bulkrate.toolkit.jobs.follow import Follower
from bulkrate.toolkit.jobs.money import Prices
from bulkrate.toolkit.jobs.patience import Moving
from bulkrate.toolkit.jobs.progress import Progress, Speed
from bulkrate.toolkit.jobs.reading import columns_of, read_rows, rows_path
from bulkrate.toolkit.jobs.record import JobFolder, JobRecord, JobState, Purpose, Round, doing
from bulkrate.toolkit.jobs.requests import Addressed, PartWriter, Wanted, line_of, requests_of
from bulkrate.toolkit.jobs.reuse import remember, take_over
from bulkrate.toolkit.jobs.rounds import NextRound, model_of, next_round
from bulkrate.toolkit.jobs.writing import joined, table_of, write
from bulkrate.toolkit.places.place import Place
from bulkrate.toolkit.recipes.base import Again, Recipe
from bulkrate.toolkit.rows.snapshot import RowLog, decoded
from bulkrate.toolkit.rows.table import Row, Table, Vector
from bulkrate.toolkit.sinks.base import Sink
from bulkrate.toolkit.sources.base import Source

#: Of a column that is counted, so many values are told.
_VALUES_MAX = 1_000
# A hosted Batch API is looked at once a minute; whether to stop is looked at more often.
_REST_S_MAX = 5.0


class Runner:
    """Drives one job. `observe` is told how it gets on; `pause` waits so many seconds, and may raise to stop.

    The caller holds `folder.driven()`.
    """

    def __init__(
        self,
        folder: JobFolder,
        home: Path,
        recipe: Recipe,
        *,
        observe: Callable[[Progress], None] = lambda _: None,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.record = folder.load()
        self._folder = folder
        self._home = home
        self._recipe = recipe
        self._observe = observe
        self._pause = pause
        self._clock = clock
        self._speed = Speed(clock)
        self._moving = Moving()

    def read(self, source: Source) -> None:
        """Read and keep the rows, and take over what was answered before."""
        record = self.record
        if record.state is not JobState.READING:
            return
        read_rows(source, self._recipe, record, self._folder.path)
        with self._rows() as rows, self._answers() as answers:
            answers.add(self._skipped(rows))
            if record.spec.keys and not record.fresh:
                record.reused = take_over(record, self._home, self._recipe, rows, answers)
            record.answers_bytes = answers.commit()
            self._count(answers)
        reach("job.read")
        record.state = JobState.READY
        self._save()

    def run(self, place: Place, prices: Prices) -> None:
        """Send what is to be sent, and collect, until nothing is left to send. Returns at `WRITING`."""
        record = self.record
        if record.state not in {JobState.READY, JobState.RUNNING}:
            return
        record.state, record.where, record.trouble = JobState.RUNNING, place.where, None
        record.server = place.api.url
        self._save()
        with self._rows() as rows, self._answers() as answers:
            while True:
                round_ = record.rounds[-1] if record.rounds and not record.rounds[-1].done else None
                if round_ is None:
                    wanted = next_round(record, answers)
                    if wanted is None:
                        break
                    round_ = self._begin(wanted, rows, answers, place)
                self._follower(place, prices, rows, answers).follow(round_)
                self._finish_round(round_, answers)
            self._count(answers)
            self._sum_up(answers)
        record.state = JobState.WRITING
        self._save()

    def cancel(self, place: Place | None, prices: Prices) -> None:
        """Stop what is running at `place`; what was answered is kept, and written as far as it goes."""
        record = self.record
        with self._rows() as rows, self._answers() as answers:
            for round_ in record.rounds:
                if round_.done:
                    continue
                if place is not None:
                    follower = self._follower(place, prices, rows, answers)
                    follower.cancel(round_)
                    follower.follow(round_)
                self._finish_round(round_, answers)
            self._never_sent(answers)
            self._sum_up(answers)
        record.state = JobState.CANCELLED
        record.ended_at = self._clock()
        self._save()

    def again(self) -> int:
        """Open an ended job for the rows without an answer; how many there are.

        Raises `JobError` when there are none.
        """
        record = self.record
        with self._answers() as answers:
            missing = sum(1 for _ in answers.of_status(Status.PENDING, Status.FAILED, Status.INVALID))
        if not missing:
            raise JobError(f"every row of job {record.id} has its answer; there is nothing to retry")
        if not record.state.ended:
            raise JobError(f"job {record.id} is {record.state}; go on with: {doing('resume', record.id)}")
        record.state, record.ended_at, record.trouble = JobState.READY, None, None
        record.renewed, record.renewed_at, record.allowed = True, len(record.rounds), False
        self._save()
        return missing

    def write(self, sink: Sink | None) -> None:
        """Join answers to rows and put them into `sink`; then the job is done."""
        record = self.record
        if sink is not None:
            with self._rows() as rows, self._answers(writable=False) as answers:
                write(sink, self.table(answers), joined(self._recipe, rows, answers, told=self.told))
            reach("job.written")
            record.left_out, record.written = getattr(sink, "left_out", 0), True
        if record.state is JobState.WRITING:
            self._remember()
            record.state, record.ended_at, record.trouble = JobState.DONE, self._clock(), None
        self._save()

    @property
    def told(self) -> bool:
        """Whether each row of the result says what became of it."""
        return bool(self.record.spec.sink.options.get("status", True))

    def table(self, answers: Answers, *, told: bool | None = None) -> Table:
        """The shape of the result."""
        record = self.record
        return table_of(
            self._recipe,
            columns_of(record),
            arrow=record.arrow,
            keys=record.spec.keys,
            dimensions=_dimensions(answers) if _has_vectors(self._recipe) else None,
            told=self.told if told is None else told,
        )

    def shape(self) -> Table:
        """The shape of `result`."""
        with self._answers(writable=False) as answers:
            return self.table(answers)

    def result(self) -> Iterator[Row]:
        """The rows with what answers there are."""
        with self._rows() as rows, self._answers(writable=False) as answers:
            yield from joined(self._recipe, rows, answers, told=self.told)

    def shown(self) -> str:
        """What is asked, for people."""
        return self._recipe.shown()

    def request_count(self) -> int:
        """About how many requests are to be sent now."""
        rows = self.record.counts
        waiting = sum(rows.get(name, 0) for name in ("pending", "failed", "invalid"))
        return -(-waiting // self._recipe.rows_per_request)

    def requests(self, step: int) -> Iterator[tuple[str, str, bytes]]:
        """Every `step`-th request to be sent now, as (model, endpoint, body)."""
        for request in self._made(step, self.record):
            yield request.model, request.endpoint, request.body

    def request_lines(self) -> Iterator[bytes]:
        """Every request to be sent now, as a line of an input file; of an ended job, those of a retry."""
        renewed = self.record.renewed or self.record.state.ended
        return map(line_of, self._made(1, msgspec.structs.replace(self.record, renewed=renewed)))

    def export(self, sink: Sink, keep: Callable[[Row], bool] | None = None) -> None:
        """Write the rows with what answers there are, or those that `keep` says. Raises `SinkError`."""
        with self._rows() as rows, self._answers(writable=False) as answers:
            told = keep is not None or self.told
            result = joined(self._recipe, rows, answers, told=told)
            write(sink, self.table(answers, told=told), filter(keep, result) if keep else result)

    def _made(self, step: int, record: JobRecord) -> Iterator[Addressed]:
        with self._rows() as rows, self._answers(writable=False) as answers:
            chosen = next_round(record, answers)
            if chosen is None:
                return
            made = requests_of(self._recipe, self.wanted(chosen, rows, answers, step), unfit=lambda *_: None)
            yield from made

    def check_sink(self, sink: Sink | None) -> None:
        """Find out whether the result can be written where it shall go. Raises `SinkError`."""
        if sink is None:
            return
        with self._answers(writable=False) as answers:
            sink.open(self.table(answers))
        sink.discard()

    def raise_alarm(self) -> None:
        """Tell of a job that ended with too many failures, if somebody wants to know."""
        alarm.at_the_end(self.record)
        self._save()

    def fail(self, error: BulkrateError) -> None:
        """Note why it could not go on; it may be resumed."""
        self.record.trouble, self.record.trouble_kind = error.wording, type(error).__name__
        self._save()

    def wanted(self, chosen: NextRound, rows: RowLog, answers: Answers, step: int = 1) -> Iterator[Wanted]:
        """The rows of a round, or every `step`-th group of them, each with the model it goes to and what was
        wrong last time.
        """
        whole = len(chosen.rows) == len(rows) and step == 1
        size = self._recipe.rows_per_request
        picked = (row for at, row in enumerate(chosen.rows) if at // size % step == 0)
        pairs = enumerate(rows.rows()) if whole else ((number, rows.get(number)) for number in picked)
        for number, row in pairs:
            last = answers.get(number) if chosen.purpose is not Purpose.FIRST else None
            yield Wanted(
                number=number,
                row=row,
                model=chosen.model or model_of(self.record.spec.model, row),
                again=_again(last) if chosen.purpose is Purpose.REASK else None,
                alone=last is not None and last.alone,
            )

    def _begin(self, chosen: NextRound, rows: RowLog, answers: Answers, place: Place) -> Round:
        """Write the requests of a round; they count once the record names their files."""
        record = self.record
        number = len(record.rounds) + 1
        writer = PartWriter(self._folder.path, f"round-{number}", place.cut, f"{record.id}-{number}")
        unfit: list[Outcome] = []

        def refuse(row: int, error: RecipeError) -> None:
            unfit.append(
                Outcome(
                    row=row, status=Status.FAILED, code="row_does_not_fit", message=str(error), attempts=0
                )
            )

        for request in requests_of(self._recipe, self.wanted(chosen, rows, answers), unfit=refuse):
            writer.write(request)
        answers.add(unfit)
        record.answers_bytes = answers.commit()
        round_ = Round(purpose=chosen.purpose, parts=writer.close(), model=chosen.model)
        reach("job.prepared")
        record.rounds.append(round_)
        record.renewed = False
        self._save()
        return round_

    def _follower(self, place: Place, prices: Prices, rows: RowLog, answers: Answers) -> Follower:
        def moved(moving: Moving) -> None:
            self._moving = moving
            self._tell(answers)

        def keep() -> None:
            self._count(answers)  # whoever looks at the record sees what has come so far
            self._save()

        collector = Collector(
            self._recipe, rows.get, lambda row: model_of(self.record.spec.model, row), len(rows)
        )
        return Follower(
            self.record,
            self._folder.path,
            place,
            answers,
            collector,
            prices=prices,
            save=keep,
            pause=self._rest,
            moved=moved,
        )

    def _rest(self, seconds: float) -> None:
        """Wait. Raises `JobError` soon after somebody asked the job to stop."""
        while not self._folder.is_to_stop():
            self._pause(min(seconds, _REST_S_MAX))
            seconds -= _REST_S_MAX
            if seconds <= 0:
                return
        raise JobError(
            f"job {self.record.id} was asked to stop; go on with: {doing('resume', self.record.id)}"
        )

    def _finish_round(self, round_: Round, answers: Answers) -> None:
        reach("job.answered")
        round_.done = True
        self._count(answers)
        self._save()
        for part in round_.parts:
            (self._folder.path / part.file).unlink(missing_ok=True)

    def _skipped(self, rows: RowLog) -> Iterator[Outcome]:
        for number, row in enumerate(rows.rows()):
            reason = self._recipe.skip(row)
            if reason is not None:
                yield Outcome(row=number, status=Status.SKIPPED, message=reason, attempts=0)

    def _never_sent(self, answers: Answers) -> None:
        answers.add(
            Outcome(
                row=row,
                status=Status.FAILED,
                code="batch_cancelled",
                message="the job was cancelled before this row was sent",
                retryable=True,
                attempts=0,
            )
            for row in list(answers.of_status(Status.PENDING))
        )
        self.record.answers_bytes = answers.commit()
        self._count(answers)

    def _sum_up(self, answers: Answers) -> None:
        """Count failures by code, and the values of the column that the recipe counts."""
        failures: Counter[str] = Counter()
        values: Counter[str] = Counter()
        for row in answers.of_status(Status.FAILED, Status.INVALID):
            outcome = answers.get(row)
            failures[(outcome and outcome.code) or "unknown"] += 1
        if (column := self._recipe.counted) is not None:
            for row in answers.of_status(Status.ANSWERED):
                outcome = answers.get(row)
                if outcome is not None and outcome.cells is not None:
                    values[str(decoded(outcome.cells).get(column))] += 1
        self.record.failures = dict(failures.most_common())
        self.record.values = dict(values.most_common(_VALUES_MAX))

    def allow(self) -> None:
        """Note that its money was agreed to."""
        self.record.allowed = True
        self._save()

    def _remember(self) -> None:
        if self.record.spec.keys:
            with self._rows() as rows, self._answers(writable=False) as answers:
                remember(self.record, self._home, self._recipe, rows, answers)

    def _tell(self, answers: Answers) -> None:
        self._count(answers)
        alarm.when_late(self.record, self._clock())
        done = len(answers) - answers.counts[Status.PENDING]
        self._observe(Progress.of(self.record, done=done, moving=self._moving, speed=self._speed.now(done)))

    def _count(self, answers: Answers) -> None:
        self.record.counts = {status.name.lower(): answers.counts[status] for status in Status}

    def _rows(self) -> RowLog:
        return RowLog(rows_path(self._folder.path), rows=self.record.rows, writable=False)

    def _answers(self, *, writable: bool = True) -> Answers:
        return Answers(
            self._folder.path,
            rows=self.record.rows or 0,
            committed=self.record.answers_bytes,
            writable=writable,
        )

    def _save(self) -> None:
        self._folder.save(self.record)


def _again(outcome: Outcome | None) -> Again | None:
    if outcome is None or outcome.status != Status.INVALID:
        return None
    return Again(text=outcome.text or "", fault=outcome.message or "")


def _has_vectors(recipe: Recipe) -> bool:
    return any(column.kind == "vector" for column in recipe.columns)


def _dimensions(answers: Answers) -> int | None:
    """How many numbers the first vector has."""
    bytes_each = {"float32": 4, "float16": 2, "int8": 1}
    for row in islice(answers.of_status(Status.ANSWERED), 1):
        outcome = answers.get(row)
        if outcome is not None and outcome.cells is not None:
            for cell in decoded(outcome.cells).values():
                if isinstance(cell, Vector):
                    return len(cell.data) // bytes_each[cell.dtype]
    return None

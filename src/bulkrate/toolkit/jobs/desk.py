"""Where jobs are begun and gone on with: everything under one state folder.

The command line and the Python functions both stand on this; neither moves a job by other means.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from bulkrate import config
from bulkrate.errors import BulkrateError, JobError, OverBudget, SinkError, SourceError
from bulkrate.toolkit.jobs import money
from bulkrate.toolkit.jobs.beginning import Beginning
from bulkrate.toolkit.jobs.catalogue import Catalogue
from bulkrate.toolkit.jobs.ends import recipe_for, sink_of, source_of
from bulkrate.toolkit.jobs.progress import Progress
from bulkrate.toolkit.jobs.record import JobFolder, JobRecord, JobState, doing
from bulkrate.toolkit.jobs.runner import Runner
from bulkrate.toolkit.jobs.spec import JobSpec
from bulkrate.toolkit.places.place import Place, open_place
from bulkrate.toolkit.sources.base import Source


class Listener:
    """Who is told how a job gets on. This one does not listen; override what you want to hear."""

    def progress(self, progress: Progress) -> None:
        """How far it is; several times a second at most."""

    def say(self, text: str) -> None:
        """Something that takes a while, in words."""

    def confirm(self, record: JobRecord, forecast: money.Forecast) -> bool:  # noqa: ARG002
        """May this money be spent? Asked once, and only when it costs something or may."""
        return True

    def pause(self, seconds: float) -> None:
        """Wait. Whoever wants the job to stop here raises."""
        time.sleep(seconds)


class Desk:
    """Jobs under the state folder `home`. `environ` is where keys are found; `warn` is told of jobs that are
    passed over because their records cannot be read.
    """

    def __init__(
        self, home: Path, environ: Mapping[str, str], *, warn: Callable[[str], None] | None = None
    ) -> None:
        self.home = home
        self.jobs = Catalogue(home, warn)
        self._environ = environ

    @classmethod
    def at(
        cls,
        data: str | os.PathLike[str] | None,
        environ: Mapping[str, str],
        *,
        file: Path | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> Desk:
        """The jobs of the folder `data`, or of the one that the configuration names. Raises `ConfigError`."""
        flags = {} if data is None else {"home": os.fspath(data)}
        return cls(Path(config.load(file=file, environ=environ, flags=flags).home), environ, warn=warn)

    def begin(
        self, spec: JobSpec, source: Source | None = None, *, fresh: bool = False, overwrite: bool = False
    ) -> tuple[JobFolder, bool]:
        """A job as `spec` asks, and whether it was there already (see `Beginning.job`)."""
        return Beginning(self.jobs, self._environ).job(spec, source, fresh=fresh, overwrite=overwrite)

    def go_on(
        self,
        folder: JobFolder,
        listener: Listener,
        *,
        source: Source | None = None,
        again: bool = False,
        max_cost: str | None = None,
        only_prepare: bool = False,
    ) -> JobRecord:
        """Move a job on to its end and write its result; `again` opens an ended one for what has no answer.

        `only_prepare` stops before anything is sent: the rows are kept, and the money is agreed to.

        Raises `JobTaken` when somebody else moves it, `OverBudget`, `ServerUnreachable`, and whatever its
        rows, recipe or sink raise. What was done stays done.
        """
        with folder.driven():
            record = folder.load()
            recipe = recipe_for(record.spec)
            runner = Runner(folder, self.home, recipe, observe=listener.progress, pause=listener.pause)
            if again:
                runner.again()
            fresh = runner.record.state is JobState.READING
            try:
                self._prepare(runner, listener, source, max_cost)
                if not only_prepare:
                    self._finish(runner, listener)
            except BulkrateError as error:
                reading = fresh and runner.record.state is JobState.READING
                nowhere_to = isinstance(error, SinkError) and not runner.record.allowed
                if reading or (nowhere_to and not runner.record.rounds):
                    self.jobs.clear(folder)  # it never came to be
                else:
                    runner.fail(error)
                raise
            return runner.record

    def write_again(self, folder: JobFolder) -> JobRecord:
        """Write the result of an ended job anew, from the answers that are kept. Sends nothing."""
        with folder.driven():
            runner = self.runner(folder)
            runner.write(sink_of(runner.record))
            return runner.record

    def preview(self, folder: JobFolder, source: Source | None = None) -> tuple[str, money.Forecast, str]:
        """What would be asked, what it would cost, and the first request. Reads the rows; sends nothing."""
        with folder.driven():
            runner = self.runner(folder)
            if runner.record.state is JobState.READING:
                runner.read(source_of(runner.record.spec, source))
            forecast = money.forecast(runner, self.prices(runner.record.spec))
            first = next(runner.requests(1), None)
            return runner.shown(), forecast, first[2].decode() if first else "there is nothing to send"

    def cancel(self, folder: JobFolder, listener: Listener) -> JobRecord:
        """Stop a job; what was answered is kept, and written. Raises `JobError` when it has ended."""
        with folder.driven():
            record = folder.load()
            if record.state.ended:
                raise JobError(f"job {record.id} is {record.state}; there is nothing to cancel")
            runner = Runner(folder, self.home, recipe_for(record.spec), pause=listener.pause)
            runner.record.trouble = None  # it need not go on any more
            if record.rows is None:
                runner.record.state, runner.record.ended_at = JobState.CANCELLED, time.time()
                folder.save(runner.record)
                return runner.record
            place = self._open(record, listener) if record.has_lines_out else None
            try:
                runner.cancel(place, self.prices(record.spec))
            finally:
                if place is not None:
                    place.close()
            runner.record.spent = msgspec.to_builtins(money.spent(runner.record, self.prices(record.spec)))
            runner.write(sink_of(runner.record))
            return runner.record

    def runner(self, folder: JobFolder) -> Runner:
        """The job as it is, to be looked at: its result, its answers."""
        return Runner(folder, self.home, recipe_for(folder.load().spec))

    def _prepare(
        self, runner: Runner, listener: Listener, source: Source | None, max_cost: str | None
    ) -> None:
        record = runner.record
        spec = record.spec
        if record.state is JobState.READING:
            if spec.source.what == "-":
                raise SourceError(
                    f"job {record.id} stopped while it read standard input; pipe the rows into `run` again"
                )
            listener.say("reading rows")
            runner.read(source_of(spec, source))
        if record.state is JobState.READY and not record.allowed:
            self._allow(runner, listener, max_cost or spec.max_cost)

    def _finish(self, runner: Runner, listener: Listener) -> None:
        record = runner.record
        spec = record.spec
        if record.state in {JobState.READY, JobState.RUNNING}:
            place = self._open(record, listener)
            try:
                runner.run(place, self.prices(spec))
            finally:
                place.close()
        record.spent = msgspec.to_builtins(money.spent(record, self.prices(spec)))
        listener.say("writing results")
        runner.write(sink_of(record))
        runner.raise_alarm()

    def _allow(self, runner: Runner, listener: Listener, max_cost: str | None) -> None:
        """Everything that can be known to be wrong before money is spent; and whether it may be spent."""
        record = runner.record
        runner.check_sink(sink_of(record))
        forecast = money.forecast(runner, self.prices(record.spec))
        record.estimate = record.estimate or forecast.told()
        money.hold_to(forecast, max_cost)
        if forecast.costs and not listener.confirm(record, forecast):
            raise OverBudget(f"job {record.id} was not begun; go on with: {doing('resume', record.id)}")
        runner.allow()

    def _open(self, record: JobRecord, listener: Listener) -> Place:
        return open_place(record.spec.place, self.home, self._environ, tell=listener.say)

    def prices(self, spec: JobSpec) -> money.Prices:
        """What answers cost where a job runs. Raises `ConfigError`."""
        return money.Prices(spec.place, self._environ, window=spec.window)

"""Where jobs are begun and gone on with: everything under one state folder.

The command line and the Python functions both stand on this; neither moves a job by other means.
"""

from __future__ import annotations

import difflib
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from bulkrate import config
from bulkrate.core.deadline import window_s
from bulkrate.errors import (
    BulkrateError,
    ConfigError,
    JobError,
    OverBudget,
    RecipeError,
    RequestRefused,
    ServerUnreachable,
    SinkError,
    SourceError,
)
from bulkrate.toolkit.jobs import money
from bulkrate.toolkit.jobs.progress import Progress
from bulkrate.toolkit.jobs.reading import content_of, hold_to_columns
from bulkrate.toolkit.jobs.record import (
    JobFolder,
    JobRecord,
    JobState,
    beginning,
    doing,
    job_folders,
    new_job_id,
)
from bulkrate.toolkit.jobs.reuse import forget
from bulkrate.toolkit.jobs.runner import Runner
from bulkrate.toolkit.jobs.spec import JobSpec
from bulkrate.toolkit.places.place import Place, PlaceAsk, open_place, settle
from bulkrate.toolkit.recipes import check, recipe_of, tells_confidence
from bulkrate.toolkit.recipes.base import Recipe
from bulkrate.toolkit.recipes.grouping import Groups
from bulkrate.toolkit.recipes.report_folder import ReportFolder
from bulkrate.toolkit.recipes.requests import RequestLines, Requests
from bulkrate.toolkit.sinks import exists, is_table, open_sink
from bulkrate.toolkit.sinks.base import Sink
from bulkrate.toolkit.sources import open_source
from bulkrate.toolkit.sources.base import Source
from bulkrate.wording import either


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


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=2)


class Desk:
    """Jobs under the state folder `home`. `environ` is where keys are found; `warn` is told, once each, of
    jobs that are passed over because their records cannot be read.
    """

    def __init__(
        self, home: Path, environ: Mapping[str, str], *, warn: Callable[[str], None] = _warn
    ) -> None:
        self.home = home
        self._environ = environ
        self._warn = warn
        self._passed_over: set[str] = set()

    @classmethod
    def at(
        cls,
        data: str | os.PathLike[str] | None,
        environ: Mapping[str, str],
        *,
        file: Path | None = None,
        warn: Callable[[str], None] = _warn,
    ) -> Desk:
        """The jobs of the folder `data`, or of the one that the configuration names. Raises `ConfigError`."""
        flags = {} if data is None else {"home": os.fspath(data)}
        return cls(Path(config.load(file=file, environ=environ, flags=flags).home), environ, warn=warn)

    def begin(
        self, spec: JobSpec, source: Source | None = None, *, fresh: bool = False, overwrite: bool = False
    ) -> tuple[JobFolder, bool]:
        """A job as `spec` asks, and whether it was there already.

        The same job over the same content is the same job: it is gone on with, or if it has ended, its
        answers are there. `fresh` makes a new one all the same. A file that is there already is written
        over only by the job that wrote it, or with `overwrite`. Raises `ConfigError`, `SourceError`,
        `RecipeError`, `SinkError`.
        """
        recipe = recipe_for(spec)
        if isinstance(recipe, Requests):  # kept, so that the file is not needed again
            spec = msgspec.structs.replace(
                spec, asking=msgspec.structs.replace(spec.asking, endpoint=recipe.endpoint)
            )
        given, source = source, source_of(spec, source)
        if source.columns:
            names = [column.name for column in source.columns]
            if not isinstance(recipe, Requests) and not spec.asking.group_by:
                check(spec.asking, names)
            hold_to_columns(spec, recipe, names)
        _hold_confidence(spec)
        _hold_window(spec)
        asked = spec.place
        spec = msgspec.structs.replace(spec, place=settle(spec.place, self._environ))
        spec = self._with_model(spec, recipe)
        mark = source.mark()
        now = time.time()
        record = JobRecord(
            id=new_job_id(spec.name or spec.asking.recipe, now),
            spec=spec,
            fingerprint=spec.fingerprint(mark),
            created_at=now,
            source_name=source.name,
            fresh=fresh,
        )
        sink_of(record)  # a place that is none is told of before a row is read
        if mark is not None:
            with beginning(self.home):
                known = None if fresh else self._same(record)
                if known is None:
                    self._keep_output(spec, overwrite=overwrite)
                    return self._made(record), False
        else:
            folder = self._made(record)
            if given is not None and given.length is None:
                return folder, False  # an iterator: what it will bring is anybody's guess
            known = self._read_now(folder, source, fresh=fresh, ended_too=given is None, overwrite=overwrite)
            if known is None:
                return folder, False
        self._as_asked_now(known, spec, elsewhere=asked != PlaceAsk(), overwrite=overwrite)
        return known, True

    def _made(self, record: JobRecord) -> JobFolder:
        folder = JobFolder(self.home, record.id)
        folder.make()
        folder.save(record)
        return folder

    def _read_now(
        self, folder: JobFolder, source: Source, *, fresh: bool, ended_too: bool, overwrite: bool
    ) -> JobFolder | None:
        """Read rows of which nobody can tell beforehand whether they are the same, and look for the job that
        has them already: one that goes on, and where `ended_too` also one that has ended.
        """
        try:
            with folder.driven():
                runner = self.runner(folder)
                runner.read(source)
                with beginning(self.home):
                    record = runner.record
                    record.content = content_of(folder.path)
                    known = None if fresh else self._same(record)
                    if known is not None and (ended_too or not known.load().state.ended):
                        self._clear(folder)
                        return known
                    self._keep_output(record.spec, overwrite=overwrite)
                    folder.save(record)
                    return None
        except BaseException:
            self._clear(folder)
            raise

    def _as_asked_now(self, folder: JobFolder, spec: JobSpec, *, elsewhere: bool, overwrite: bool) -> None:
        """The same job, but perhaps to run or to be written elsewhere, to cost more, or to be told of
        otherwise.

        Raises `JobError` when it has lines in another place already, `SinkError` when the output is there.
        """
        if folder.is_driven():
            return  # whoever goes on with it is told
        record = folder.load()
        place = spec.place if elsewhere else record.spec.place
        if place.keyless() != record.spec.place.keyless() and not record.state.ended and record.has_lines_out:
            raise JobError(
                f"job {record.id} has lines at {record.where or 'another place'}, and cannot be moved; go on "
                f"there with: {doing('resume', record.id)}, or end it with: {doing('cancel', record.id)}"
            )
        if spec.sink.what != record.spec.sink.what:
            self._keep_output(spec, overwrite=overwrite)
            record.written = False
        now = msgspec.structs.replace(
            record.spec, place=place, watch=spec.watch, max_cost=spec.max_cost, sink=spec.sink
        )
        if now != record.spec:
            with folder.driven():
                record.spec = now
                folder.save(record)

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
                    self._clear(folder)  # it never came to be
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

    def find(self, name: str) -> JobFolder:
        """The job that `name` means: its id, how that begins, or the name of a job (then its newest run).

        Raises `JobError`, also when it could mean several.
        """
        folders = job_folders(self.home)
        if exact := [folder for folder in folders if folder.id == name]:
            return exact[0]
        known = list(self._records())
        named = [folder for folder, record in known if record.spec.name == name]
        if named:
            return named[-1]
        begun = [folder for folder in folders if folder.id.startswith(name)]
        if len(begun) == 1:
            return begun[0]
        if begun:
            raise JobError(f"{name!r} may mean {len(begun)} jobs: {', '.join(f.id for f in begun[-5:])}")
        names = {folder.id for folder in folders} | {record.spec.name or "" for _, record in known}
        near = difflib.get_close_matches(name, names, n=3)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "`bulkrate jobs` lists them"
        raise JobError(f"there is no job {name!r} under {self.home}; {hint}")

    def newest(self) -> JobFolder:
        """The job that was touched last. Raises `JobError` when there is none."""
        folders = job_folders(self.home)
        if not folders:
            raise JobError(f"there are no jobs under {self.home}")
        return folders[-1]

    def jobs(self) -> list[JobRecord]:
        """Every job, oldest first."""
        return sorted((record for _, record in self._records()), key=lambda record: record.created_at)

    def remove(self, folder: JobFolder) -> None:
        """Delete a job with its rows and answers. Raises `JobError` while it is being moved on."""
        with folder.driven():
            forget(self.home, folder.id)
            self._clear(folder)

    def tidy(self) -> None:
        """Remove the state folder if there is nothing in it."""
        with suppress(OSError):  # there is
            (self.home / "jobs").rmdir()
            self.home.rmdir()

    def _clear(self, folder: JobFolder) -> None:
        shutil.rmtree(folder.path)

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

    def _same(self, record: JobRecord) -> JobFolder | None:
        """The newest other job that asks the same of the same rows."""
        for folder, other in reversed(list(self._records())):
            if other.id != record.id and (other.fingerprint, other.content) == (
                record.fingerprint,
                record.content,
            ):
                return folder
        return None

    def _keep_output(self, spec: JobSpec, *, overwrite: bool) -> None:
        what = spec.sink.what
        if what is None or overwrite or _as_documents(spec) or not exists(what):
            return
        if spec.name and any(record.written and record.spec.sink.what == what for record in self._runs(spec)):
            return  # last night's result of the same job
        raise SinkError(
            f"{what} exists; name another {either('--output', 'output=')}, "
            f"or write over it with {either('--overwrite', 'overwrite=True')}"
        )

    def _runs(self, spec: JobSpec) -> Iterator[JobRecord]:
        """The runs of a job of this name."""
        return (record for _, record in self._records() if record.spec.name == spec.name)

    def _records(self) -> Iterator[tuple[JobFolder, JobRecord]]:
        """Every job, that which was touched last at the end."""
        for folder in job_folders(self.home):
            try:
                yield folder, folder.load()
            except JobError as error:
                if folder.exists() and folder.id not in self._passed_over:
                    self._passed_over.add(folder.id)
                    self._warn(f"passed over: {error}")

    def _with_model(self, spec: JobSpec, recipe: Recipe) -> JobSpec:
        """`spec` with a model for every row: without one, the only one that there is."""
        ask = spec.model
        if isinstance(recipe, Requests):
            return msgspec.structs.replace(spec, model=msgspec.structs.replace(ask, column="model"))
        if ask.model or ask.column:
            return spec
        place = open_place(spec.place, self.home, self._environ)
        try:
            models = place.api.models()
        except (RequestRefused, ServerUnreachable):
            models = []
        finally:
            place.close()
        if len(models) != 1:
            offered = (
                f"there are {', '.join(models[:20])}" if models else "the server does not list its models"
            )
            raise ConfigError(f"no model is named; give {either('--model NAME', 'model=NAME')}: {offered}")
        return msgspec.structs.replace(spec, model=msgspec.structs.replace(ask, model=models[0]))


def recipe_for(spec: JobSpec) -> Recipe:
    """The recipe of a job. Raises `RecipeError`, `SourceError`."""
    if spec.asking.recipe == "requests":
        return Requests(spec.asking.endpoint or RequestLines(Path(spec.source.what or "")).endpoint())
    return recipe_of(spec.asking)


def _hold_confidence(spec: JobSpec) -> None:
    """Raise `RecipeError` when answers are to be as sure as they never say they are."""
    if spec.model.confidence_min is not None and not tells_confidence(spec.asking):
        probabilities = either("--param logprobs=true", 'params={"logprobs": True}')
        raise RecipeError(
            f"{either('--min-confidence', 'min_confidence=')} is for answers that say how sure they are; let "
            f"classify ask for it with {either('--confidence', 'confidence=True')}, or get the probabilities "
            f"of tokens with {probabilities}"
        )


def _hold_window(spec: JobSpec) -> None:
    """Raise `RecipeError` when no batch may take as long."""
    if window_s(spec.window) is None:
        raise RecipeError(
            f"{either('--window', 'window=')} {spec.window!r} is none; give 24h, or another from 1h to 30d"
        )


def source_of(spec: JobSpec, given: Source | None = None) -> Source:
    """The source that a job names, or the one `given` by a program, in groups where the recipe wants these.

    Raises `SourceError`.
    """
    ask = spec.source
    if given is None and ask.what is None:
        raise SourceError(
            "the rows were handed over by a program that stopped meanwhile; hand them over again"
        )
    if spec.asking.recipe == "requests":
        return given or RequestLines(Path(ask.what or ""), limit=ask.limit)
    source = given or open_source(
        ask.what, query=ask.query, table=ask.table, limit=ask.limit, format=ask.format
    )
    return Groups(source, spec.asking.group_by) if spec.asking.group_by else source


def sink_of(record: JobRecord) -> Sink | None:
    """The sink that a job names, if it names one. Raises `SinkError`."""
    ask, asking = record.spec.sink, record.spec.asking
    if ask.what is None:
        return None
    options = {name: value for name, value in ask.options.items() if name not in {"status", "overwrite"}}
    if _as_documents(record.spec):
        options["overwrite"] = record.written or ask.options.get("overwrite", False)
        document = asking.answer or "report"
        return ReportFolder(Path(ask.what), by=asking.group_by, document=document, **options)
    return open_sink(ask.what, table=ask.table, format=ask.format, **options)


def _as_documents(spec: JobSpec) -> bool:
    """Whether the result is a folder with a file for each group, and not a table."""
    return bool(spec.asking.group_by) and not is_table(spec.sink.what or "", spec.sink.format)

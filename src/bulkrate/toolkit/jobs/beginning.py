"""Which job is meant: a new one, or the same as before.

What cannot be right is told here, before a row is read where that can be known. Nothing is sent.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import msgspec

from bulkrate.core.deadline import window_s
from bulkrate.errors import (
    ConfigError,
    JobError,
    RecipeError,
    RequestRefused,
    ServerUnreachable,
    SinkError,
)
from bulkrate.toolkit.jobs.catalogue import Catalogue
from bulkrate.toolkit.jobs.ends import as_documents, recipe_for, sink_of, source_of
from bulkrate.toolkit.jobs.reading import content_of, hold_to_columns
from bulkrate.toolkit.jobs.record import JobFolder, JobRecord, beginning, doing, new_job_id
from bulkrate.toolkit.jobs.runner import Runner
from bulkrate.toolkit.jobs.spec import JobSpec
from bulkrate.toolkit.places.place import PlaceAsk, open_place, settle
from bulkrate.toolkit.recipes import check, tells_confidence
from bulkrate.toolkit.recipes.base import Recipe
from bulkrate.toolkit.recipes.requests import Requests
from bulkrate.toolkit.sinks import exists
from bulkrate.toolkit.sources.base import Source
from bulkrate.wording import either


class Beginning:
    """Begins jobs among those of `jobs`. `environ` is where keys are found."""

    def __init__(self, jobs: Catalogue, environ: Mapping[str, str]) -> None:
        self._jobs = jobs
        self._environ = environ

    def job(
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
            fresh=fresh,
        )
        sink_of(record)  # a place that is none is told of before a row is read
        if mark is not None:
            with beginning(self._jobs.home):
                known = None if fresh else self._jobs.same(record)
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
        folder = JobFolder(self._jobs.home, record.id)
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
                runner = Runner(folder, self._jobs.home, recipe_for(folder.load().spec))
                runner.read(source)
                with beginning(self._jobs.home):
                    record = runner.record
                    record.content = content_of(folder.path)
                    known = None if fresh else self._jobs.same(record)
                    if known is not None and (ended_too or not known.load().state.ended):
                        self._jobs.clear(folder)
                        return known
                    self._keep_output(record.spec, overwrite=overwrite)
                    folder.save(record)
                    return None
        except BaseException:
            self._jobs.clear(folder)
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

    def _keep_output(self, spec: JobSpec, *, overwrite: bool) -> None:
        what = spec.sink.what
        if what is None or overwrite or as_documents(spec) or not exists(what):
            return
        if spec.name and any(
            record.written and record.spec.sink.what == what for record in self._jobs.runs(spec.name)
        ):
            return  # last night's result of the same job
        raise SinkError(
            f"{what} exists; name another {either('--output', 'output=')}, "
            f"or write over it with {either('--overwrite', 'overwrite=True')}"
        )

    def _with_model(self, spec: JobSpec, recipe: Recipe) -> JobSpec:
        """`spec` with a model for every row: without one, the only one that there is."""
        ask = spec.model
        if isinstance(recipe, Requests):
            return msgspec.structs.replace(spec, model=msgspec.structs.replace(ask, column="model"))
        if ask.model or ask.column:
            return spec
        place = open_place(spec.place, self._jobs.home, self._environ)
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

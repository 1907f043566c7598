"""What a job's spec names, made ready: its recipe, its source, its sink."""

from __future__ import annotations

from pathlib import Path

from bulkrate.errors import SourceError
from bulkrate.toolkit.jobs.record import JobRecord
from bulkrate.toolkit.jobs.spec import JobSpec
from bulkrate.toolkit.recipes import recipe_of
from bulkrate.toolkit.recipes.base import Recipe
from bulkrate.toolkit.recipes.grouping import Groups
from bulkrate.toolkit.recipes.report_folder import ReportFolder
from bulkrate.toolkit.recipes.requests import RequestLines, Requests
from bulkrate.toolkit.sinks import is_table, open_sink
from bulkrate.toolkit.sinks.base import Sink
from bulkrate.toolkit.sources import open_source
from bulkrate.toolkit.sources.base import Source


def recipe_for(spec: JobSpec) -> Recipe:
    """The recipe of a job. Raises `RecipeError`, `SourceError`."""
    if spec.asking.recipe == "requests":
        return Requests(spec.asking.endpoint or RequestLines(Path(spec.source.what or "")).endpoint())
    return recipe_of(spec.asking)


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
    if as_documents(record.spec):
        options["overwrite"] = record.written or ask.options.get("overwrite", False)
        document = asking.answer or "report"
        return ReportFolder(Path(ask.what), by=asking.group_by, document=document, **options)
    return open_sink(ask.what, table=ask.table, format=ask.format, **options)


def as_documents(spec: JobSpec) -> bool:
    """Whether the result is a folder with a file for each group, and not a table."""
    return bool(spec.asking.group_by) and not is_table(spec.sink.what or "", spec.sink.format)

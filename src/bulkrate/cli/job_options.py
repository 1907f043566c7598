"""The options that every command which runs a job has, declared once and put into each one's signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from typer.models import OptionInfo

_WHERE, _MODEL, _ROWS, _MONEY, _WATCH, _HOW = (
    "Where it runs",
    "Models",
    "Rows and results",
    "Money",
    "Watching",
    "How it runs",
)


def _option(*names: str, panel: str, help: str, **more: Any) -> OptionInfo:  # noqa: A002  # Typer's own name
    option: OptionInfo = typer.Option(*names, help=help, rich_help_panel=panel, **more)
    return option


# A plain dataclass: `bulkrate --help` has to answer before anything else is loaded.
@dataclass(kw_only=True)
class JobOptions:
    """What the command line says about a job, beside what is asked of the rows. Each is explained in
    `_OPTIONS`.
    """

    output: str | None = None
    id: list[str] | None = None
    query: str | None = None
    table: str | None = None
    format: str | None = None
    to_table: str | None = None
    to_format: str | None = None
    overwrite: bool = False
    to_option: list[str] | None = None
    limit: int | None = None
    status: bool = True
    model: str | None = None
    model_column: str | None = None
    rule: list[str] | None = None
    escalate: list[str] | None = None
    min_confidence: float | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    param: list[str] | None = None
    upstream: list[str] | None = None
    upstream_key: str | None = None
    online: bool = False
    server: str | None = None
    server_key: str | None = None
    config: Path | None = None
    data: str | None = None
    window: str = "24h"
    max_cost: float | None = None
    yes: bool = False
    dry_run: bool = False
    fail_under: str | None = None
    alarm_webhook: str | None = None
    alarm_command: str | None = None
    late_after: str | None = None
    name: str | None = None
    job: str | None = None
    fresh: bool = False
    detach: bool = False
    reask: int | None = None
    retries: int | None = None
    as_json: bool = False
    quiet: bool = False


_OPTIONS: dict[str, OptionInfo] = {
    "output": _option(
        "--output",
        "-o",
        panel=_ROWS,
        metavar="FILE|URL|-",
        help=(
            "Where the rows go with their answers: .csv .tsv .jsonl .parquet .arrow, s3://…, a "
            "database, a vector store, - for standard output."
        ),
    ),
    "id": _option(
        "--id",
        panel=_ROWS,
        metavar="COLUMN",
        help=(
            "A column that tells rows apart; may be given several times. Later runs then send only "
            "new and changed rows."
        ),
    ),
    "query": _option("--query", panel=_ROWS, metavar="SQL", help="The rows of a database."),
    "table": _option("--table", panel=_ROWS, help="The table of a database to read."),
    "format": _option(
        "--format", panel=_ROWS, metavar="csv|jsonl|…", help="What the input is, where its name does not say."
    ),
    "to_table": _option("--to-table", panel=_ROWS, help="The table of a database to write."),
    "to_format": _option(
        "--to-format",
        panel=_ROWS,
        metavar="csv|jsonl|…",
        help="What the output shall be, where its name does not say.",
    ),
    "overwrite": _option("--overwrite", panel=_ROWS, help="Write over an output that is there already."),
    "to_option": _option(
        "--to-option",
        panel=_ROWS,
        metavar="NAME=VALUE",
        help="What else the output shall know: mode=append, overwrite=true, distance=l2.",
    ),
    "limit": _option("--limit", panel=_ROWS, min=1, help="Take only so many rows."),
    "status": _option(
        "--status/--no-status", panel=_ROWS, help="Add the columns _status and _error to the result."
    ),
    "model": _option(
        "--model", "-m", panel=_MODEL, help="Which model answers.", show_default="the only one there is"
    ),
    "model_column": _option(
        "--model-column", panel=_MODEL, metavar="COLUMN", help="The column that names the model of its row."
    ),
    "rule": _option(
        "--rule",
        panel=_MODEL,
        metavar="COLUMN=VALUE:MODEL",
        help="Rows with this value go to this model; may be given several times.",
    ),
    "escalate": _option(
        "--escalate",
        panel=_MODEL,
        metavar="MODEL",
        help=(
            "Rows that failed, are not as asked or not sure go on to this model; may be given several times."
        ),
    ),
    "min_confidence": _option(
        "--min-confidence", panel=_MODEL, min=0, max=1, help="Below this an answer is not sure."
    ),
    "temperature": _option("--temperature", panel=_MODEL, help="As in the request body."),
    "max_tokens": _option("--max-tokens", panel=_MODEL, min=1, help="The longest answer, in tokens."),
    "param": _option(
        "--param",
        panel=_MODEL,
        metavar="NAME=VALUE",
        help="Any other field of the request body; the value is JSON or text. May be given several times.",
    ),
    "upstream": _option(
        "--upstream",
        panel=_WHERE,
        metavar="URL|NAME",
        help=(
            "An OpenAI-compatible server that answers; may be given several times. `sandbox` "
            "rehearses without a model."
        ),
        show_default="what is found",
    ),
    "upstream_key": _option(
        "--upstream-key",
        panel=_WHERE,
        metavar="env:NAME|file:PATH",
        help="Where the key for the --upstream servers is found.",
    ),
    "online": _option(
        "--online",
        panel=_WHERE,
        help="Ask providers right away at the standard price, not through their batch APIs.",
    ),
    "server": _option(
        "--server",
        panel=_WHERE,
        metavar="URL",
        help="A Batch API to run on: a bulkrate server, or another that speaks OpenAI's.",
    ),
    "server_key": _option(
        "--server-key",
        panel=_WHERE,
        metavar="env:NAME|file:PATH",
        help="Where the key for --server is found.",
    ),
    "config": _option(
        "--config",
        panel=_WHERE,
        metavar="FILE",
        help="Configuration file.",
        show_default="bulkrate.toml, if there is one",
    ),
    "data": _option("--data", panel=_WHERE, metavar="DIR", help="Folder for jobs.", show_default=".bulkrate"),
    "window": _option(
        "--window", panel=_WHERE, metavar="24h", help="By when it has to be done, from 1h to 30d."
    ),
    "max_cost": _option(
        "--max-cost", panel=_MONEY, metavar="DOLLARS", min=0, help="Do not begin what may cost more."
    ),
    "yes": _option("--yes", "-y", panel=_MONEY, help="Do not ask before money is spent."),
    "dry_run": _option(
        "--dry-run", "-n", panel=_MONEY, help="Show what would be sent and what it would cost; send nothing."
    ),
    "fail_under": _option(
        "--fail-under",
        panel=_WATCH,
        metavar="99%",
        help="The share of rows that must be answered for exit code 0 and no alarm.",
        show_default="100%",
    ),
    "alarm_webhook": _option(
        "--alarm-webhook", panel=_WATCH, metavar="URL", help="Post here when too much failed, or it is late."
    ),
    "alarm_command": _option(
        "--alarm-command",
        panel=_WATCH,
        metavar="COMMAND",
        help="Run this when too much failed, or it is late; it gets the facts as JSON on standard input.",
    ),
    "late_after": _option("--late-after", panel=_WATCH, metavar="6h", help="When it is late."),
    "name": _option(
        "--name", panel=_HOW, help="What to call the job; its runs are compared by `bulkrate jobs history`."
    ),
    "job": _option(
        "--job",
        panel=_HOW,
        metavar="NAME",
        help="Take what is not said here from [jobs.NAME] of the configuration.",
    ),
    "fresh": _option("--fresh", panel=_HOW, help="Begin anew, though the same job is there already."),
    "detach": _option("--detach", "-d", panel=_HOW, help="Go on in the background."),
    "reask": _option(
        "--reask",
        panel=_HOW,
        min=0,
        help="How often a row is asked again whose answer is not as asked.",
        show_default="1",
    ),
    "retries": _option(
        "--retries",
        panel=_HOW,
        min=0,
        help="How often rows are sent again that failed for a passing reason.",
        show_default="1",
    ),
    "as_json": _option("--json", panel=_HOW, help="Print the summary as JSON, as when it is piped."),
    "quiet": _option("--quiet", "-q", panel=_HOW, help="No progress."),
}


@cache
def _shared() -> tuple[inspect.Parameter, ...]:
    """The options as parameters: the same for every command."""
    kinds = get_type_hints(JobOptions)
    return tuple(
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=Annotated[kinds[field.name], _OPTIONS[field.name]],
        )
        for field in fields(JobOptions)
    )


def takes_job_options(command: Callable[..., None]) -> Callable[..., None]:
    """`command(…, options: JobOptions)` as one whose signature has all of these options instead."""
    hints = get_type_hints(command, include_extras=True)
    own = [
        parameter.replace(annotation=hints[name])
        for name, parameter in inspect.signature(command).parameters.items()
        if name != "options"
    ]
    shared = _shared()
    names = {parameter.name for parameter in shared}

    def typed(**given: Any) -> None:
        options = JobOptions(**{name: value for name, value in given.items() if name in names})
        command(**{name: value for name, value in given.items() if name not in names}, options=options)

    typed.__doc__ = command.__doc__
    typed.__name__ = command.__name__
    parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*own, *shared)]
    typed.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    typed.__annotations__ = {each.name: each.annotation for each in parameters}
    return typed

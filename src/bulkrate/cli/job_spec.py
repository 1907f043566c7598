"""From the options of a command to what a job is asked to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import typer

from bulkrate.cli.job_options import JobOptions

if TYPE_CHECKING:
    from bulkrate.toolkit.jobs.spec import JobSpec, Rule
    from bulkrate.toolkit.questions.asking import Asking
    from bulkrate.toolkit.rows.table import VectorType

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
#: Re-asking costs a request, and helps most where answers have a form to keep.
_REASK = 1
_RETRIES = 1


def spec_of(asking: Asking, what: str, options: JobOptions) -> JobSpec:
    """The job that a command line describes. Raises `typer.BadParameter`, `ConfigError`."""
    from bulkrate.toolkit.jobs.spec import JobSpec, ModelAsk, SinkAsk, SourceAsk, Watch, dollars
    from bulkrate.toolkit.places.place import asked_place

    return JobSpec(
        asking=msgspec.structs.replace(asking, params=asking.params | _params(options)),
        source=SourceAsk(
            what=what, query=options.query, table=options.table, format=options.format, limit=options.limit
        ),
        sink=SinkAsk(
            what=options.output,
            table=options.to_table,
            format=options.to_format,
            options=_pairs("--to-option", options.to_option)
            | ({} if options.status else {"status": False})
            | ({"overwrite": True} if options.overwrite and asking.group_by else {}),
        ),
        place=asked_place(
            server=options.server,
            server_key=options.server_key,
            upstreams=options.upstream,
            upstream_key=options.upstream_key,
            config_file=str(options.config) if options.config else None,
            online=options.online,
        ),
        model=ModelAsk(
            model=options.model,
            column=options.model_column,
            rules=tuple(_rule(text) for text in options.rule or ()),
            escalate=tuple(options.escalate or ()),
            confidence_min=options.min_confidence,
        ),
        keys=tuple(options.id or ()),
        window=options.window,
        reask=_REASK if options.reask is None else options.reask,
        retries=_RETRIES if options.retries is None else options.retries,
        max_cost=dollars(options.max_cost),
        name=options.name,
        watch=Watch(
            fail_under=share("--fail-under", options.fail_under),
            late_after_s=seconds("--late-after", options.late_after),
            webhook=options.alarm_webhook,
            command=options.alarm_command,
        ),
    )


def text_of(given: str | None) -> str | None:
    """A text as it is given, or the content of the file that `@FILE` names. Raises `typer.BadParameter`."""
    if given is None or not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"the file {given[1:]} cannot be read: {error}") from error


def schema_of(given: str | None) -> dict[str, Any] | None:
    """The JSON schema that a flag names. Raises `RecipeError`."""
    from bulkrate.toolkit.questions import schemas

    return None if given is None else schemas.schema_of(given)


def vector_type(given: str) -> VectorType:
    """How the numbers of vectors are kept. Raises `typer.BadParameter`."""
    kinds: dict[str, VectorType] = {"float32": "float32", "float16": "float16", "int8": "int8"}
    if given not in kinds:
        raise typer.BadParameter(f"{given!r} is none of {', '.join(kinds)}")
    return kinds[given]


def share(flag: str, text: str | None) -> float | None:
    """`99%` or `0.99` as a share. Raises `typer.BadParameter`."""
    if text is None:
        return None
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise typer.BadParameter(f"{flag} {text!r} is no share; give 99% or 0.99")
    return value


def seconds(flag: str, text: str | None) -> float | None:
    """`90s`, `30m`, `6h` or `2d` as seconds. Raises `typer.BadParameter`."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhd])", text)
    if match is None:
        raise typer.BadParameter(f"{flag} {text!r} is no time; give 90s, 30m, 6h or 2d")
    return float(match[1]) * _UNITS[match[2]]


def _params(options: JobOptions) -> dict[str, Any]:
    params: dict[str, Any] = {}
    if options.temperature is not None:
        params["temperature"] = options.temperature
    if options.max_tokens is not None:
        params["max_tokens"] = options.max_tokens
    return params | _pairs("--param", options.param)


def _pairs(flag: str, given: list[str] | None) -> dict[str, Any]:
    """NAME=VALUE pairs; a value is JSON or text."""
    pairs: dict[str, Any] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{flag} {text!r} is not NAME=VALUE")
        try:
            pairs[name] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            pairs[name] = value
    return pairs


def _rule(text: str) -> Rule:
    from bulkrate.toolkit.jobs.spec import Rule

    match = re.fullmatch(r"([^=]+)=([^:]*):(.+)", text)
    if match is None:
        raise typer.BadParameter(f"--rule {text!r} is not COLUMN=VALUE:MODEL")
    return Rule(column=match[1], value=match[2], model=match[3])

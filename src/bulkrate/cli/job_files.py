"""Jobs by name: `[jobs.NAME]` of the configuration holds what would else be flags."""

from __future__ import annotations

import difflib
import os
from dataclasses import asdict, fields
from typing import Any

import msgspec

from bulkrate.cli.job_options import JobOptions
from bulkrate.errors import ConfigError

# What belongs to the asking, and is not among the options that all commands have.
_ASKING = ("recipe", "prompt", "system", "schema", "column", "answer", "labels", "other", "confidence")
_ASKING_MORE = (
    "dimensions",
    "dtype",
    "normalise",
    "texts_per_request",
    "language",
    "words",
    "group_by",
    "template",
    "endpoint",
    "params",
)
_SOURCE = ("source",)
_LISTS = {"id", "rule", "escalate", "upstream", "param"}


def named_job(
    name: str, what: str | None, options: JobOptions
) -> tuple[dict[str, Any], str | None, JobOptions]:
    """What `[jobs.NAME]` asks, its source, and the options: those of the command line count before its own.

    Raises `ConfigError` for a job or a key that is not there.
    """
    from bulkrate import config

    settings = config.load(file=options.config, environ=os.environ, flags={})
    table = settings.jobs.get(name)
    if table is None:
        near = difflib.get_close_matches(name, settings.jobs, n=1)
        known = ", ".join(settings.jobs) or "none; write [jobs.NAME] into bulkrate.toml"
        raise ConfigError(
            f"there is no job {name!r} in the configuration"
            + (f"; did you mean {near[0]!r}?" if near else f"; there are: {known}")
        )
    shared = {field.name: field.default for field in fields(JobOptions)}
    known_keys = (*_ASKING, *_ASKING_MORE, *_SOURCE, *shared)
    asking: dict[str, Any] = {}
    given = asdict(options)
    for raw, value in table.items():
        key = raw.replace("-", "_")
        if key not in known_keys:
            near = difflib.get_close_matches(key, known_keys, n=1)
            raise ConfigError(
                f"[jobs.{name}]: unknown key {raw!r}" + (f"; did you mean {near[0]!r}?" if near else "")
            )
        if key in _SOURCE:
            what = what or str(value)
        elif key in shared:
            if given[key] == shared[key]:
                given[key] = [str(value)] if key in _LISTS and not isinstance(value, list) else value
        else:
            asking[key] = value
    given["name"] = given["name"] or name
    try:
        merged = msgspec.convert(given, JobOptions, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"[jobs.{name}] does not fit: {error}") from error
    return asking, what, merged

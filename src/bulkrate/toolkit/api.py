"""What a program calls: rows in, a `Job` out. Each function is a recipe; each has its twin on the command
line.
"""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bulkrate.errors import RecipeError
from bulkrate.toolkit.job import Job, Results
from bulkrate.toolkit.jobs.desk import Desk
from bulkrate.toolkit.jobs.spec import JobSpec, ModelAsk, Rule, SinkAsk, SourceAsk, Watch, dollars
from bulkrate.toolkit.places.place import asked_place
from bulkrate.toolkit.questions import schemas
from bulkrate.toolkit.questions.asking import Asking
from bulkrate.toolkit.recipes.requests import GivenRequests
from bulkrate.toolkit.rows.table import VectorType
from bulkrate.toolkit.sources import open_source

_CHAT = "/v1/chat/completions"


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every function takes beside its own arguments.

    `upstream` (one or several URLs or names of providers, or `"sandbox"`), `server`, their keys as `env:NAME`
    or `file:PATH`, and `config` say where it runs; left out, it is found. `online` asks providers right away,
    at the standard price. `output` writes the result to a file, database or
    vector store as well. `id` names key columns: later runs send only new and changed rows. `rules` are
    `(column, value, model)`. `params` are further fields of the request body. `max_cost` in dollars refuses
    to begin what may cost more. `progress` None shows it where somebody looks.
    """

    model: str | None = None
    model_column: str | None = None
    rules: Sequence[tuple[str, str, str]] = ()
    escalate: Sequence[str] = ()
    min_confidence: float | None = None
    params: dict[str, Any] = {}
    upstream: str | Sequence[str] | None = None
    upstream_key: str | None = None
    online: bool = False
    server: str | None = None
    server_key: str | None = None
    config: str | None = None
    data: str | None = None
    output: str | None = None
    id: str | Sequence[str] = ()
    query: str | None = None
    table: str | None = None
    limit: int | None = None
    window: str = "24h"
    name: str | None = None
    reask: int = 1
    retries: int = 1
    max_cost: float | None = None
    fail_under: float | None = None
    fresh: bool = False
    overwrite: bool = False
    progress: bool | None = None


def map(  # noqa: A001  # the name that everybody looks for
    rows: Any,
    *,
    prompt: str | None = None,
    system: str | None = None,
    schema: Any = None,
    answer: str | None = None,
    endpoint: str | None = None,
    **options: Any,
) -> Job:
    """Ask one question of every row.

    `rows`: a list of dicts or texts, an iterator, a pandas or Polars frame, an Arrow table, or a path or URL.
    `prompt` is a template: `{{ column }}` stands for a cell (`{{ text }}` for rows that are texts). `schema`
    (a JSON schema, its path, or a Pydantic model) makes answers JSON that is checked. `options` are the
    fields of `Options`. Raises `RecipeError`, `SourceError`, `ConfigError`.
    """
    if prompt is None and _are_texts(rows):
        prompt = "{{ text }}"
    return _begin(
        Asking(
            recipe="map",
            prompt=prompt,
            system=system,
            schema=_schema(schema),
            answer=answer,
            endpoint=endpoint,
        ),
        rows,
        options,
    )


def classify(
    rows: Any,
    *,
    labels: Sequence[str],
    column: str | None = None,
    prompt: str | None = None,
    system: str | None = None,
    other: bool = False,
    confidence: bool = False,
    answer: str | None = None,
    **options: Any,
) -> Job:
    """Put every row under one of `labels`; `other` allows for none of them, `confidence` asks how sure it is.

    `rows` and `options` are as for `map`.
    """
    asking = Asking(
        recipe="classify",
        column=_column(rows, column, prompt),
        prompt=prompt,
        system=system,
        labels=_labels(labels),
        other=other,
        confidence=confidence,
        answer=answer,
    )
    return _begin(asking, rows, options)


def embed(
    rows: Any,
    *,
    column: str | None = None,
    prompt: str | None = None,
    dimensions: int | None = None,
    dtype: VectorType = "float32",
    normalise: bool = False,
    texts_per_request: int | None = None,
    answer: str | None = None,
    **options: Any,
) -> Job:
    """Make a vector of every row's text. `rows` and `options` are as for `map`."""
    asking = Asking(
        recipe="embed",
        column=_column(rows, column, prompt),
        prompt=prompt,
        dimensions=dimensions,
        dtype=dtype,
        normalise=normalise,
        texts_per_request=texts_per_request,
        answer=answer,
    )
    return _begin(asking, rows, options)


def extract(
    rows: Any,
    *,
    schema: Any,
    column: str | None = None,
    prompt: str | None = None,
    system: str | None = None,
    answer: str | None = None,
    **options: Any,
) -> Job:
    """Take fields out of every row's text: one column for each property of `schema`.

    `rows` and `options` are as for `map`; `reask` says how often a row is asked again whose answer does not
    fit.
    """
    asking = Asking(
        recipe="extract",
        column=_column(rows, column, prompt),
        prompt=prompt,
        system=system,
        schema=_schema(schema),
        answer=answer,
    )
    return _begin(asking, rows, options)


def summarize(rows: Any, *, column: str | None = None, words: int | None = None, **options: Any) -> Job:
    """Say in a few words what every row's text says. `rows` and `options` are as for `map`."""
    return _begin(Asking(recipe="summarize", column=_column(rows, column, None), words=words), rows, options)


def translate(rows: Any, *, to: str, column: str | None = None, **options: Any) -> Job:
    """Say every row's text in the language `to`. `rows` and `options` are as for `map`."""
    return _begin(Asking(recipe="translate", column=_column(rows, column, None), language=to), rows, options)


def report(
    rows: Any,
    *,
    group_by: str | Sequence[str],
    output: str,
    template: str | None = None,
    prompt: str | None = None,
    **options: Any,
) -> Job:
    """Write one document for each group of rows: files in the folder `output`, or rows of the table or file
    that it names. `rows` and `options` are as for `map`.
    """
    groups = (group_by,) if isinstance(group_by, str) else tuple(group_by)
    asking = Asking(recipe="report", group_by=groups, template=template, prompt=prompt)
    return _begin(asking, rows, {**options, "output": output})


def submit(requests: Iterable[Mapping[str, Any]], *, endpoint: str = _CHAT, **options: Any) -> Job:
    """Run plain request bodies as they are; a `Job` whose results are in their order.

    Each body is what one would send to `endpoint`. A body without `model` gets that of `options`.
    """
    model = options.get("model")
    source = GivenRequests(requests, endpoint, model)
    return _begin(Asking(recipe="requests", endpoint=endpoint), source, options)


def batch(requests: Iterable[Mapping[str, Any]], *, endpoint: str = _CHAT, **options: Any) -> Results:
    """Run plain request bodies and wait: their answers, in the same order, each an answer or an error.

    for result in bulkrate.batch([{"model": "gpt-4o-mini", "messages": [...]}, ...]):
        print(result.value if result.ok else result.error)
    """
    return submit(requests, endpoint=endpoint, **options).result()


def _begin(asking: Asking, rows: Any, options: Mapping[str, Any]) -> Job:
    chosen = _chosen(asking.recipe, options)
    desk = Desk.at(chosen.data, os.environ, file=Path(chosen.config) if chosen.config else None)
    what = os.fspath(rows) if isinstance(rows, str | os.PathLike) else None
    spec = _spec(asking, what, chosen)
    source = None
    if what is None:
        source = rows if isinstance(rows, GivenRequests) else open_source(rows, limit=chosen.limit)
    folder, there = desk.begin(spec, source, fresh=chosen.fresh, overwrite=chosen.overwrite)
    record = folder.load() if there else None
    if record is not None and record.state.ended and not record.written:
        desk.write_again(folder)  # the same answers, to another place
    return Job(desk, folder, source=source, progress=chosen.progress).resume()


def _chosen(recipe: str, options: Mapping[str, Any]) -> Options:
    known = [field.name for field in msgspec.structs.fields(Options)]
    for name in options:
        if name not in known:
            raise RecipeError(_unknown(recipe, name, known))
    plain = {
        name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in options.items()
    }
    try:
        return msgspec.convert(plain, Options, strict=False)
    except msgspec.ValidationError as error:
        raise RecipeError(f"an argument does not fit: {error}") from error


def _unknown(recipe: str, name: str, shared: list[str]) -> str:
    function = "submit" if recipe == "requests" else recipe
    takes = inspect.signature(globals()[function]).parameters.values()
    own = [parameter.name for parameter in takes if parameter.kind is inspect.Parameter.KEYWORD_ONLY]
    near = difflib.get_close_matches(name, own + shared, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(own + shared)}"
    return f"there is no argument {name!r}; {hint}"


def _spec(asking: Asking, what: str | None, chosen: Options) -> JobSpec:
    groups = bool(asking.group_by)
    upstreams = [chosen.upstream] if isinstance(chosen.upstream, str) else list(chosen.upstream or ())
    return JobSpec(
        asking=msgspec.structs.replace(asking, params=chosen.params),
        source=SourceAsk(what=what, query=chosen.query, table=chosen.table, limit=chosen.limit),
        sink=SinkAsk(what=chosen.output, options={"overwrite": True} if chosen.overwrite and groups else {}),
        place=asked_place(
            server=chosen.server,
            server_key=chosen.server_key,
            upstreams=upstreams,
            upstream_key=chosen.upstream_key,
            config_file=chosen.config,
            online=chosen.online,
        ),
        model=ModelAsk(
            model=chosen.model,
            column=chosen.model_column,
            rules=tuple(Rule(column=c, value=v, model=m) for c, v, m in chosen.rules),
            escalate=tuple(chosen.escalate),
            confidence_min=chosen.min_confidence,
        ),
        keys=(chosen.id,) if isinstance(chosen.id, str) else tuple(chosen.id),
        window=chosen.window,
        reask=chosen.reask,
        retries=chosen.retries,
        max_cost=dollars(chosen.max_cost),
        name=chosen.name,
        watch=Watch(fail_under=chosen.fail_under),
    )


def _schema(given: Any) -> dict[str, Any] | None:
    return None if given is None else schemas.schema_of(given)


def _labels(given: Sequence[str]) -> tuple[str, ...]:
    if isinstance(given, str):
        raise RecipeError(f"labels are a list, found the text {given!r}; give them as {given.split(',')!r}")
    return tuple(given)


def _column(rows: Any, column: str | None, prompt: str | None) -> str | None:
    return "text" if column is None and prompt is None and _are_texts(rows) else column


def _are_texts(rows: Any) -> bool:
    """Whether rows are plain texts, which a source puts into a column `text`."""
    return isinstance(rows, list | tuple) and bool(rows) and isinstance(rows[0], str)

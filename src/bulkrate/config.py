"""Every setting, read once and frozen.

One TOML file, then environment variables, then flags: the later wins. Unknown keys are refused with the
nearest right name. Secrets are never written down in the clear: a value of `env:NAME` or `file:PATH` says
where to find it. Nothing else in the package reads the environment or a configuration file.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from bulkrate.core.deadline import window_s
from bulkrate.core.delegation import OnLate
from bulkrate.core.retry import Retry
from bulkrate.errors import ConfigError
from bulkrate.misfit import first_misfit
from bulkrate.providers.batch.base import Vendor
from bulkrate.providers.batch.vendors import vendor_for
from bulkrate.providers.endpoints import ENDPOINTS
from bulkrate.reach import misread_headers, misread_url, misread_value
from bulkrate.telemetry import LogFormat
from bulkrate.wording import either

CONFIG_FILE = "bulkrate.toml"
ENV_PREFIX = "BULKRATE_"
#: Variables of ours that are no settings: where tests make a process die (see `engine.points`).
NOT_SETTINGS = {"BULKRATE_DIE_AT"}
# The short form of `[upstreams]`, for flags and the environment.
_SHORT = ("upstream", "upstream_key")
_USER = re.compile(r"^([a-z][a-z0-9+.-]*://)?[^/?#]*@", re.IGNORECASE)
GIB = 1024**3
MIB = 1024**2


# Infinity is no number of seconds: no timer takes it, and JSON cannot carry it to the workers.
Count = Annotated[int, msgspec.Meta(ge=1, le=2**62)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=1e9)]
SecondsOrZero = Annotated[float, msgspec.Meta(ge=0, le=1e9)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the configuration file."""


#: How an upstream is spoken to: a call a line, or one of the batch APIs.
Kind = Literal["online", "openai-batch", "anthropic-batch", "gemini-batch", "mistral-batch"]


class Limits(Section, frozen=True, kw_only=True):
    """How much one caller may ask for. Sizes in bytes."""

    file_bytes_max: Count = 8 * GIB
    upload_part_bytes_max: Count = 64 * MIB
    lines_max: Count = 10_000_000
    #: 32 MiB holds a line with several inline images; a longer one is reported, never held in memory.
    line_bytes_max: Count = 32 * MIB
    custom_id_chars_max: Count = 512
    embedding_inputs_max: Count = 10_000_000
    #: Faults kept for a rejected batch. OpenAI's own batches have at most this many lines.
    faults_max: Count = 50_000
    run_requests_max: Count = 1_000
    run_wait_s_max: Seconds = 600.0
    #: An upstream's answer beyond this is refused, so that one answer cannot fill the memory.
    answer_bytes_max: Count = 256 * MIB


class Timing(Section, frozen=True, kw_only=True):
    """The engine's own pace, in seconds."""

    commit_s_max: SecondsOrZero = 0.1
    #: How long lines in flight may take to land after a stop, a cancel or a deadline.
    grace_s: SecondsOrZero = 30.0
    #: Three missed heartbeats. Shorter, and a paused machine loses its lines to a twin.
    lease_s: Seconds = 15.0
    #: How long a loop sleeps when nobody rings its bell.
    poll_s: Seconds = 1.0
    sweep_s: Seconds = 2.0


class Upstream(Section, frozen=True, kw_only=True):
    """A place that answers lines.

    `models` lists what it serves; left out, its own `/models` is asked, and a server without one is taken to
    serve any model. Shell patterns (`qwen*`) are allowed. `aliases` maps the name in a line to the name sent.
    `weight` decides who is offered a line first when several upstreams of one model are free.
    `max_in_flight` is how many attempts may be under way at once; left out, it is found. `target_running` is
    how many requests shall run there in all, others' included, for an upstream with a metrics page that we
    share with people who wait for an answer; the page is looked for beside the URL, or at `metrics_url`.
    `set_fields` are put into every request body and `drop_fields` taken out of it, for hints such as a
    priority. `ca_file` is a certificate authority in PEM to trust beside the usual ones.

    Of another `kind` than `online` it is *delegated*: lines go there in groups, through its batch API, and
    are answered hours later at half the price. `provider` is whose wire a kind of several is spoken in. All
    that stands below `weight` is for delegated upstreams alone.
    """

    url: str = ""
    kind: Kind = "online"
    key: str | None = None
    models: list[str] | None = None
    aliases: dict[str, str] = {}
    headers: dict[str, str] = {}
    timeout_s: Seconds = 600.0
    connect_timeout_s: Seconds = 10.0
    max_in_flight: Count | None = None
    target_running: Count | None = None
    metrics_url: str | None = None
    set_fields: dict[str, Any] = {}
    drop_fields: list[str] = []
    ca_file: str | None = None
    weight: Annotated[float, msgspec.Meta(gt=0, le=1e9)] = 1.0
    provider: str | None = None
    #: Batches with at least this window go here even if an online upstream serves the model as well.
    from_window: str = "24h"
    #: The window that is asked of the provider; None is a day, or the shortest that it has.
    window: str | None = None
    #: What becomes of lines that the provider has not answered when our deadline is near, or there.
    on_late: OnLate = OnLate.EXPIRE
    #: How long before the deadline lines go online, where `on_late` says so.
    late_s: Seconds = 3_600.0
    #: How many remote batches a line may be part of before it is given up.
    remote_attempts: Count = 3
    #: The first pause between two looks at a remote batch; it grows to forty times this.
    poll_s: Seconds = 15.0
    keep_remote_files: bool = False
    #: For Anthropic: the limit of lines that say none. For Anthropic and Gemini: the version of the API.
    max_tokens: Count | None = None
    api_version: str | None = None
    #: Limits of the provider to be replaced: a batch's lines, bytes, tokens and texts to embed, batches that
    #: are on their way at a time, and creations an hour.
    batch_lines_max: Count | None = None
    batch_bytes_max: Count | None = None
    batch_tokens_max: Count | None = None
    batch_inputs_max: Count | None = None
    batches_max: Count | None = None
    creates_per_hour: Count | None = None
    #: How many input tokens may be enqueued there, for each model, or by the name of the model.
    enqueued_tokens: Count | dict[str, Count] | None = None
    #: What the provider signs its webhooks with.
    webhook_secret: str | None = None

    @property
    def delegated(self) -> bool:
        """Whether it answers groups of lines through a batch API."""
        return self.kind != "online"

    @property
    def address(self) -> str:
        """Its URL as it may be shown: without user and password."""
        return shown_url(self.url)


class Traces(Section, frozen=True, kw_only=True):
    """Where OpenTelemetry traces go, by OTLP over HTTP; nowhere without an endpoint.

    `endpoint` is the collector's address without a path. Left out, the standard variables
    `OTEL_EXPORTER_OTLP_ENDPOINT` and `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` count.
    """

    endpoint: str | None = None
    #: Which share of attempts gets a span: a million lines would be a million spans.
    attempts_share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.01


class Settings(Section, frozen=True, kw_only=True):
    """All of it."""

    host: str = "127.0.0.1"
    #: 0 takes any free one.
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 8080
    data: str = "bulkrate-data"
    #: Processes that send lines; None is one per core. There are never more than upstreams.
    workers: Count | None = None
    log_format: LogFormat = "text"
    #: What `GET /metrics` asks for; without it, it answers everyone who can connect.
    metrics_key: str | None = None
    limits: Limits = Limits()
    retry: Retry = Retry()
    timing: Timing = Timing()
    traces: Traces = Traces()
    upstreams: dict[str, Upstream] = {}
    #: For jobs: where they are kept; a Batch API to run them on instead of upstreams, and its key.
    home: str = ".bulkrate"
    server: str | None = None
    server_key: str | None = None
    #: Jobs by name, each with the options of `bulkrate run`.
    jobs: dict[str, dict[str, Any]] = {}
    #: Prices of one's own: model -> dollars per million tokens (`input`, `output`, `batch_input`, …).
    prices: dict[str, dict[str, Any]] = {}

    @property
    def senders(self) -> int:
        """How many processes send lines. A second attempt at a line is made by the process that made the
        first.
        """
        wanted = 1 if self.retry.hedge else self.workers or _cores()
        return max(1, min(wanted, len(self.online)))

    @property
    def online(self) -> list[str]:
        """The upstreams that answer each line at once."""
        return [name for name, upstream in self.upstreams.items() if not upstream.delegated]

    @property
    def delegated(self) -> list[str]:
        """The upstreams that answer groups of lines through a batch API."""
        return [name for name, upstream in self.upstreams.items() if upstream.delegated]


def load(
    *, file: Path | None, environ: Mapping[str, str], flags: Mapping[str, Any], cwd: Path | None = None
) -> Settings:
    """The settings in force.

    `file` is the configuration file asked for; when None, `BULKRATE_CONFIG` or a `bulkrate.toml` in `cwd` is
    used if there is one. `flags` has the shape of the TOML file, plus `upstream` (a list of URLs) and
    `upstream_key`. Raises `ConfigError`.
    """
    merged: dict[str, Any] = {}
    environment = _from_environment(environ)
    named = environment.pop("config", None)
    path = file or (Path(named) if isinstance(named, str) and named else None)
    if path is None and (cwd or Path()).joinpath(CONFIG_FILE).is_file():
        path = (cwd or Path()) / CONFIG_FILE
    layers = [(str(path), _from_file(path))] if path else []
    layers += [("the environment", environment), ("the command line", dict(flags))]
    short: dict[str, Any] = {}
    for source, layer in layers:
        short |= {key: value for key in _SHORT if (value := layer.pop(key, None))}
        _refuse_unknown(Settings, layer, source, ())
        _merge(merged, layer)
    if short:
        _merge(merged, _expand_upstreams(**short))
    try:
        settings = msgspec.convert(merged, Settings, strict=False)
    except msgspec.ValidationError as cause:
        told = _does_not_fit(merged, layers)
        raise told or ConfigError(f"the configuration does not fit: {cause}") from cause
    upstreams = {name: _with_url(name, upstream) for name, upstream in settings.upstreams.items()}
    settings = msgspec.structs.replace(settings, upstreams=upstreams)
    _check(settings)
    return msgspec.structs.replace(
        settings,
        metrics_key=revealed_key(settings.metrics_key, "metrics_key", environ),
        server_key=revealed_key(settings.server_key, "server_key", environ),
        traces=msgspec.structs.replace(settings.traces, endpoint=_traces_endpoint(settings.traces, environ)),
        upstreams={name: _reveal(name, up, environ) for name, up in settings.upstreams.items()},
    )


def _does_not_fit(merged: dict[str, Any], layers: list[tuple[str, dict[str, Any]]]) -> ConfigError | None:
    """The first setting that does not fit, and where it was given."""
    misfit = first_misfit(merged, Settings)
    if misfit is None:
        return None
    given_in = (f"{source}: " for source, layer in reversed(layers) if _holds(layer, misfit.path))
    return ConfigError(f"{next(given_in, '')}{'.'.join(misfit.path)} {misfit.words}")


def _holds(layer: Any, path: tuple[str, ...]) -> bool:
    for key in path:
        if not isinstance(layer, dict):
            return True  # a list, or what is not the table that it should be
        if layer.get(key) is None:
            return False
        layer = layer[key]
    return True


def _from_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"there is no configuration file {path}; name another with {either('--config', 'config=')}"
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as cause:
        raise ConfigError(f"{path} cannot be read as TOML: {cause}") from cause


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """`BULKRATE_PORT=…` is `port`, `BULKRATE_LIMITS__LINES_MAX=…` is `lines_max` in `[limits]`."""
    tree: dict[str, Any] = {}
    for name, value in environ.items():
        if not name.startswith(ENV_PREFIX) or name in NOT_SETTINGS:
            continue
        *tables, key = name.removeprefix(ENV_PREFIX).lower().split("__")
        node = tree
        for table in tables:
            node = node.setdefault(table, {})
            if not isinstance(node, dict):
                raise ConfigError(
                    f"the environment: {name} is a setting of a table that another variable sets"
                )
        node[key] = value.split(",") if key == "upstream" and not tables else value
    return tree


def _expand_upstreams(upstream: Any = (), upstream_key: Any = None) -> dict[str, Any]:
    """Turn the short form (`--upstream URL`, `--upstream-key env:NAME`) into entries of `[upstreams]`."""
    if upstream_key is not None and not upstream:
        raise ConfigError(
            "upstream_key is for the upstreams of the short form, of which there are none; "
            f"give {either('--upstream URL', 'upstream=URL')}, or a key in [upstreams.NAME]"
        )
    urls = upstream if isinstance(upstream, list) else [upstream]
    key = {} if upstream_key is None else {"key": upstream_key}
    named = {
        f"upstream-{number}": {"url": str(url).strip()} | key for number, url in enumerate(urls, start=1)
    }
    return {"upstreams": named}


def _refuse_unknown(shape: type[msgspec.Struct], given: Any, source: str, path: tuple[str, ...]) -> None:
    """Raise for the first key that `shape` does not have, naming the nearest that it has."""
    if not isinstance(given, dict):
        return
    known = {field.name: field.type for field in msgspec.structs.fields(shape)}
    for key, value in given.items():
        where = ".".join((*path, key))
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = (
                f"did you mean {'.'.join((*path, near[0]))!r}?" if near else f"known are {', '.join(known)}"
            )
            raise ConfigError(f"{source}: unknown setting {where!r}; {hint}")
        if isinstance(known[key], type) and issubclass(known[key], msgspec.Struct):
            _refuse_unknown(known[key], value, source, (*path, key))
        elif key == "upstreams" and isinstance(value, dict):
            for name, upstream in value.items():
                _refuse_unknown(Upstream, upstream, source, (*path, key, name))


def _merge(into: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        elif value is not None:
            into[key] = dict(value) if isinstance(value, dict) else value


def _cores() -> int:
    """How many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not every system can say
        return os.cpu_count() or 1


def _check(settings: Settings) -> None:
    if (endpoint := settings.traces.endpoint) and not endpoint.startswith(("http://", "https://")):
        raise ConfigError(
            f"traces.endpoint is {endpoint!r}; give the whole address, as http://localhost:4318"
        )
    if not settings.data.strip():
        raise ConfigError("data is ''; name a folder, which is made if it is not there")
    for name, upstream in settings.upstreams.items():
        if not name.strip() or not name.isprintable():
            raise ConfigError(f"upstreams: {name!r} is no name for an upstream; give one that can be shown")
        _check_url(f"upstreams.{name}.url", upstream.url, "http://localhost:8000/v1")
        _refuse_endpoint(f"upstreams.{name}.url", upstream.url)
        if upstream.metrics_url is not None:
            _check_url(f"upstreams.{name}.metrics_url", upstream.metrics_url, "http://localhost:8000/metrics")
        if upstream.ca_file is not None:
            _check_authorities(f"upstreams.{name}.ca_file", upstream.ca_file)
        _check_kind(name, upstream)
        fixed = {"model", "stream"} & {*upstream.set_fields, *upstream.drop_fields}
        if fixed:
            raise ConfigError(
                f"upstreams.{name}: {fixed.pop()!r} is not for set_fields or drop_fields; "
                "use aliases for the model, and write streams out of the input"
            )


def _check_url(where: str, url: str, example: str) -> None:
    if (reason := misread_url(url)) is not None:
        raise ConfigError(
            f"{where} is {shown_url(url)!r}, and {reason}; give the whole address, as {example}"
        )


def _refuse_endpoint(where: str, url: str) -> None:
    """Refuse the URL of one endpoint, where that of the API belongs: every line would be answered 404."""
    endpoint = next((path for path in ENDPOINTS if url.rstrip("/").endswith(path)), None)
    if endpoint is not None:
        rest = endpoint.removeprefix("/v1")
        raise ConfigError(f"{where} is {shown_url(url)!r}; end it after the /v1: each line brings {rest}")


def _check_authorities(where: str, path: str) -> None:
    """Whether a file holds certificates: without one the upstream could not even be tried."""
    import ssl  # noqa: PLC0415  # only who names such a file pays for it

    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        raise ConfigError(f"{where} is {path}, which holds no certificate; give a file in PEM") from None
    except OSError as cause:
        raise ConfigError(f"{where} is {path}, which cannot be read: {cause.strerror}") from cause


def shown_url(url: str) -> str:
    """A URL without the user and the password that may stand in it."""
    return _USER.sub(r"\1", url)


# What only a delegated upstream has.
_DELEGATED = (
    "provider",
    "from_window",
    "window",
    "on_late",
    "late_s",
    "remote_attempts",
    "poll_s",
    "keep_remote_files",
    "max_tokens",
    "api_version",
    "batch_lines_max",
    "batch_bytes_max",
    "batch_tokens_max",
    "batch_inputs_max",
    "batches_max",
    "creates_per_hour",
    "enqueued_tokens",
    "webhook_secret",
)


def vendor_of(upstream: Upstream) -> Vendor:
    """How a delegated upstream speaks. Raises `ConfigError`."""
    return vendor_for(
        upstream.kind,
        provider=upstream.provider,
        url=upstream.url or None,
        max_tokens=upstream.max_tokens,
        version=upstream.api_version,
        window=upstream.window,
    )


def _with_url(name: str, upstream: Upstream) -> Upstream:
    """The address of a provider's API is known; nobody needs to write it down."""
    if not upstream.delegated:
        return upstream
    try:
        vendor = vendor_of(upstream)
    except ConfigError as cause:
        raise ConfigError(f"upstreams.{name}: {cause}") from None
    return msgspec.structs.replace(upstream, url=upstream.url or vendor.url_default or "")


def _check_kind(name: str, upstream: Upstream) -> None:
    for setting in ("from_window", "window"):
        window = getattr(upstream, setting)
        if window is not None and window_s(window) is None:
            raise ConfigError(f"upstreams.{name}.{setting} is {window!r}; give a window from '1h' to '30d'")
    if upstream.delegated:
        if not upstream.models:
            raise ConfigError(
                f"upstreams.{name}.models is missing; list the models whose lines go to its batch API, "
                'as ["gpt-4o*"]'
            )
        return
    fields = {field.name: field.default for field in msgspec.structs.fields(Upstream)}
    stray = next((key for key in _DELEGATED if getattr(upstream, key) != fields[key]), None)
    if stray is not None:
        raise ConfigError(
            f"upstreams.{name}.{stray} is for upstreams with a batch API; give it a kind, as openai-batch"
        )


def _reveal(name: str, upstream: Upstream, environ: Mapping[str, str]) -> Upstream:
    """Put the secrets in place of their addresses."""
    key = revealed_key(upstream.key, f"upstreams.{name}.key", environ)
    headers = {
        header: _secret(value, f"upstreams.{name}.headers.{header}", environ)
        if value.startswith(("env:", "file:"))
        else value
        for header, value in upstream.headers.items()
    }
    if (misread := misread_headers(headers)) is not None:
        header, reason = misread
        raise ConfigError(f"upstreams.{name}.headers: {header!r} {reason}; leave it out or write it anew")
    secret = revealed_key(upstream.webhook_secret, f"upstreams.{name}.webhook_secret", environ)
    return msgspec.structs.replace(
        upstream, url=upstream.url.rstrip("/"), key=key, headers=headers, webhook_secret=secret
    )


def revealed_key(key: str | None, where: str, environ: Mapping[str, str]) -> str | None:
    """The secret that `env:NAME` or `file:PATH` leads to; `where` is what a `ConfigError` calls it."""
    if key is None:
        return None
    if not key.startswith(("env:", "file:")):
        raise ConfigError(f"{where} holds the secret itself; write env:NAME or file:PATH and keep it there")
    secret = _secret(key, where, environ)
    if (reason := misread_value(secret)) is not None:
        raise ConfigError(f"{where}: what {key} leads to {reason}, which no request can carry; write it anew")
    return secret


def _traces_endpoint(traces: Traces, environ: Mapping[str, str]) -> str | None:
    """The whole address that traces are posted to, by OpenTelemetry's own rules; None when nobody asked."""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if traces.endpoint is None and (whole := environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")):
        return whole
    base = traces.endpoint or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    return f"{base.rstrip('/')}/v1/traces" if base else None


def _secret(address: str, where: str, environ: Mapping[str, str]) -> str:
    kind, _, place = address.partition(":")
    if kind == "env":
        if not environ.get(place):
            raise ConfigError(f"{where} points to the environment variable {place}, which is not set")
        return environ[place]
    try:
        secret = Path(place).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as cause:
        raise ConfigError(f"{where} points to the file {place}, which cannot be read: {cause}") from cause
    if not secret:
        raise ConfigError(f"{where} points to the file {place}, which is empty")
    return secret

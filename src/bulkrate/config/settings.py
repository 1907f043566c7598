"""Every setting, with what it means and its default."""

from __future__ import annotations

import os
import re
from typing import Annotated, Any, Literal

import msgspec

from bulkrate.core.delegation import OnLate
from bulkrate.core.retry import Retry
from bulkrate.telemetry import LogFormat

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


def shown_url(url: str) -> str:
    """A URL without the user and the password that may stand in it."""
    return _USER.sub(r"\1", url)


def _cores() -> int:
    """How many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not every system can say
        return os.cpu_count() or 1

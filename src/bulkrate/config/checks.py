"""What the shape of a setting does not say: whether it makes sense, alone and with others."""

from __future__ import annotations

import msgspec

from bulkrate.config.reach import misread_url
from bulkrate.config.settings import Settings, Upstream, shown_url
from bulkrate.core.deadline import window_s
from bulkrate.errors import ConfigError
from bulkrate.providers.endpoints import ENDPOINTS

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


def check(settings: Settings) -> None:
    """Raise `ConfigError` for the first that does not."""
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

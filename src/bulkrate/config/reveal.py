"""Secrets in place of their addresses: `env:NAME` and `file:PATH` say where one is kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from bulkrate.config.reach import misread_headers, misread_value
from bulkrate.config.settings import Settings, Traces, Upstream
from bulkrate.errors import ConfigError


def revealed(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """The same with all secrets. Raises `ConfigError`."""
    return msgspec.structs.replace(
        settings,
        metrics_key=revealed_key(settings.metrics_key, "metrics_key", environ),
        server_key=revealed_key(settings.server_key, "server_key", environ),
        traces=msgspec.structs.replace(settings.traces, endpoint=_traces_endpoint(settings.traces, environ)),
        upstreams={name: _reveal(name, up, environ) for name, up in settings.upstreams.items()},
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
            raise ConfigError(f"the environment variable {place} is not set; {where} needs it: set it")
        return environ[place]
    try:
        secret = Path(place).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as cause:
        raise ConfigError(f"{where} points to the file {place}, which cannot be read: {cause}") from cause
    if not secret:
        raise ConfigError(f"{where} points to the file {place}, which is empty")
    return secret

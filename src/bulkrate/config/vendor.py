"""How a delegated upstream speaks, by its settings."""

from __future__ import annotations

import msgspec

from bulkrate.config.settings import Settings, Upstream
from bulkrate.errors import ConfigError
from bulkrate.providers.batch.base import Vendor
from bulkrate.providers.batch.vendors import vendor_for


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


def with_urls(settings: Settings) -> Settings:
    """The address of a provider's API is known; nobody needs to write it down. Raises `ConfigError`."""
    upstreams = {name: _with_url(name, upstream) for name, upstream in settings.upstreams.items()}
    return msgspec.structs.replace(settings, upstreams=upstreams)


def _with_url(name: str, upstream: Upstream) -> Upstream:
    if not upstream.delegated:
        return upstream
    try:
        vendor = vendor_of(upstream)
    except ConfigError as cause:
        raise ConfigError(f"upstreams.{name}: {cause}") from None
    return msgspec.structs.replace(upstream, url=upstream.url or vendor.url_default or "")

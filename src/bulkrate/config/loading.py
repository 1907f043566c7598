"""From layers of settings to those in force."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bulkrate.config.checks import check
from bulkrate.config.layers import merged
from bulkrate.config.reveal import revealed
from bulkrate.config.settings import Settings
from bulkrate.config.vendor import with_urls


def load(
    *, file: Path | None, environ: Mapping[str, str], flags: Mapping[str, Any], cwd: Path | None = None
) -> Settings:
    """The settings in force.

    `file` is the configuration file asked for; when None, `BULKRATE_CONFIG` or a `bulkrate.toml` in `cwd` is
    used if there is one. `flags` has the shape of the TOML file, plus `upstream` (a list of URLs) and
    `upstream_key`. Raises `ConfigError`.
    """
    settings = with_urls(merged(file=file, environ=environ, flags=flags, cwd=cwd or Path()))
    check(settings)
    return revealed(settings, environ)

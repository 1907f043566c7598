"""Where settings stand: a TOML file, environment variables and flags, of which the later wins."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from bulkrate.config.misfit import first_misfit
from bulkrate.config.settings import Settings, Upstream
from bulkrate.errors import ConfigError
from bulkrate.wording import either

CONFIG_FILE = "bulkrate.toml"
ENV_PREFIX = "BULKRATE_"
#: Variables of ours that are no settings: where tests make a process die (see `engine.points`).
NOT_SETTINGS = {"BULKRATE_DIE_AT"}
# The short form of `[upstreams]`, for flags and the environment.
_SHORT = ("upstream", "upstream_key")


def merged(*, file: Path | None, environ: Mapping[str, str], flags: Mapping[str, Any], cwd: Path) -> Settings:
    """What the layers come to, secrets still by their addresses; `loading.load` says which they are.

    Raises `ConfigError` for what is unknown or does not fit, and names the layer that it is in.
    """
    environment = _from_environment(environ)
    named = environment.pop("config", None)
    path = file or (Path(named) if isinstance(named, str) and named else None)
    if path is None and cwd.joinpath(CONFIG_FILE).is_file():
        path = cwd / CONFIG_FILE
    layers = [(str(path), _from_file(path))] if path else []
    layers += [("the environment", environment), ("the command line", dict(flags))]
    whole: dict[str, Any] = {}
    short: dict[str, Any] = {}
    for source, layer in layers:
        short |= {key: value for key in _SHORT if (value := layer.pop(key, None))}
        _refuse_unknown(Settings, layer, source, ())
        _merge(whole, layer)
    if short:
        _merge(whole, _expand_upstreams(**short))
    try:
        return msgspec.convert(whole, Settings, strict=False)
    except msgspec.ValidationError as cause:
        told = _does_not_fit(whole, layers)
        raise told or ConfigError(f"the configuration does not fit: {cause}") from cause


def _does_not_fit(whole: dict[str, Any], layers: list[tuple[str, dict[str, Any]]]) -> ConfigError | None:
    """The first setting that does not fit, and where it was given."""
    misfit = first_misfit(whole, Settings)
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

"""`bulkrate keys`: make, list and revoke API keys, beside a running server or before the first start.

What a program would read goes to stdout, what a person would to stderr. A secret is printed once, when it
is made.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bulkrate.errors import ConfigError, InvalidRequest

if TYPE_CHECKING:
    from bulkrate.engine.asks.keys import Keys
    from bulkrate.store.records import KeyRecord

app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)

Data = Annotated[str | None, typer.Option(metavar="DIR", help="The server's data folder.")]
Config = Annotated[Path | None, typer.Option(metavar="FILE", help="The server's configuration file.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def create(
    project: Annotated[str, typer.Option(help="Whose files and batches the key opens.")] = "default",
    name: Annotated[str, typer.Option(help="What to call the key.")] = "",
    data: Data = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Make a key. Its secret is printed now and can never be shown again."""
    import asyncio

    with _keys(data, config) as keys:
        first = not asyncio.run(keys.any_active())
        try:
            key, secret = asyncio.run(keys.create(project, name))
        except InvalidRequest as error:
            raise ConfigError(error.message) from error
    if as_json:
        _print_json({**_told(key), "key": secret})
    else:
        typer.echo(secret)
    _say(f"Made {key.id} for the project {project!r}. Keep the key now: it is not shown again.")
    if first:
        _say("It is the first key: from now on the server answers nobody without one.")


@app.command(name="list")
def list_keys(data: Data = None, config: Config = None, as_json: Json = False) -> None:
    """List all keys, revoked ones too, oldest first. No secret is shown."""
    import asyncio

    with _keys(data, config) as keys:
        found = asyncio.run(keys.list())
    if as_json:
        _print_json([_told(key) for key in found])
        return
    if not found:
        _say(f"There are no keys. {_OPEN}")
        return
    _print_table([_HEADINGS, *(_row(key) for key in found)])


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Its id, name, hint, or the key itself.")],
    data: Data = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """End a key. It is refused from the next request on."""
    import asyncio

    with _keys(data, config) as keys:
        revoked = asyncio.run(keys.revoke(key))
        last = not asyncio.run(keys.any_active())
    if as_json:
        _print_json(_told(revoked))
    else:
        typer.echo(revoked.id)
    _say(f"Revoked {revoked.hint} of the project {revoked.project!r}.")
    if last:
        _say(f"It was the last key. {_OPEN}")


_OPEN = (
    "A server that listens on this machine alone now answers everyone as the project 'default'; "
    "any other answers nobody."
)
_HEADINGS = ("ID", "PROJECT", "NAME", "KEY", "CREATED", "REVOKED")


@contextmanager
def _keys(data: str | None, config: Path | None) -> Iterator[Keys]:
    """The keys in the data folder. Raises `ConfigError`, `StoreError`."""
    from bulkrate import config as configuration
    from bulkrate.engine.asks.keys import Keys
    from bulkrate.engine.context import close_context, open_context

    context = open_context(configuration.load(file=config, environ=os.environ, flags={"data": data}))
    try:
        yield Keys(context)
    finally:
        close_context(context)


def _told(key: KeyRecord) -> Mapping[str, Any]:
    shown = ("id", "project", "name", "hint", "created_at", "revoked_at")
    return {field: getattr(key, field) for field in shown}


def _row(key: KeyRecord) -> Sequence[str]:
    return (key.id, key.project, key.name or "-", key.hint, _date(key.created_at), _date(key.revoked_at))


def _date(at: int | None) -> str:
    return "-" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value))


def _say(words: str) -> None:
    typer.echo(words, err=True)

"""`bulkrate serve`: the Batch API server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bulkrate.errors import ConfigError

if TYPE_CHECKING:
    from bulkrate.config import Settings
    from bulkrate.engine.context import Context


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; 0 takes any free one.", show_default="8080")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="Folder for files, batches and results.", show_default="bulkrate-data"
        ),
    ] = None,
    upstream: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="An OpenAI-compatible server that answers the lines; may be given several times.",
        ),
    ] = None,
    upstream_key: Annotated[
        str | None,
        typer.Option(metavar="env:NAME|file:PATH", help="Where the key for the --upstream servers is found."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Processes that send lines, at most one per upstream.",
            show_default="one per core",
        ),
    ] = None,
    config_file: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="Configuration file.",
            show_default="bulkrate.toml, if there is one",
        ),
    ] = None,
    log_format: Annotated[
        str | None,
        typer.Option(
            metavar="text|json", help="How the log is written to standard error.", show_default="text"
        ),
    ] = None,
) -> None:
    """Serve the Batch API in front of your inference servers.

    OpenAI's Files, Uploads and Batches, exactly; each line of a batch is answered by an upstream.

    Point any OpenAI SDK at http://HOST:PORT/v1. Stop with Ctrl-C or SIGTERM: what is in flight lands, nothing
    is lost, and the next start goes on where this one stopped.

    \b
        bulkrate serve --upstream http://localhost:8000/v1
        bulkrate serve --upstream https://api.openai.com/v1 --upstream-key env:OPENAI_API_KEY
    """
    import uvloop

    from bulkrate import config
    from bulkrate.engine.folder import data_folder, owned
    from bulkrate.telemetry import log_to_stderr, traces

    flags: dict[str, Any] = {
        "host": host,
        "port": port,
        "data": data,
        "upstream": upstream,
        "upstream_key": upstream_key,
        "workers": workers,
        "log_format": log_format,
    }
    settings = config.load(file=config_file, environ=os.environ, flags=flags)
    log_to_stderr("server", settings.log_format)
    traces.start("server", settings.traces.endpoint, settings.traces.attempts_share)
    with owned(data_folder(settings)):
        try:
            uvloop.run(_start(settings))
        finally:
            traces.stop()


async def _start(settings: Settings) -> None:
    """Start the other processes first: they load what they need while this one does."""
    from bulkrate.engine.processes.supervise import Children, start_afresh

    children = Children(settings)
    await children.start()
    try:
        from bulkrate.engine.context import close_context, open_context

        context = open_context(settings, bells=children.bells, board=children.board)
        try:
            _refuse_open_door(context)
            start_afresh(context)
            children.begin(context)
            await _serve(context)
        finally:
            await children.stop()
            close_context(context)
    finally:
        await children.stop()


async def _serve(context: Context) -> None:
    import logging

    from bulkrate.engine import Engine
    from bulkrate.server.app import create_app
    from bulkrate.server.run import run
    from bulkrate.telemetry import log_event

    settings = context.settings
    engine = Engine(context)

    def ready(host: str, port: int) -> None:
        if settings.log_format == "text":
            _greet(settings, f"http://{host}:{port}/v1", guarded=context.store.keys.any_active())
        log_event(logging.INFO, "server_ready", host=host, port=port)

    async with engine.listening():
        await run(create_app(engine), host=settings.host, port=settings.port, on_started=ready)
        log_event(logging.INFO, "server_stopping")


def _refuse_open_door(context: Context) -> None:
    """Without keys anyone who connects may read and send everything: then only this machine may."""
    from bulkrate.engine.asks.keys import is_loopback

    host = context.settings.host
    if is_loopback(host) or context.store.keys.any_active():
        return
    raise ConfigError(
        f"no API key is configured, so the server may only listen on this machine, not on {host}; "
        f"make a key first: bulkrate keys create --data {context.settings.data}"
    )


def _greet(settings: Settings, address: str, *, guarded: bool) -> None:
    """What a person wants to know first, on standard error."""
    from bulkrate import __version__

    keys = (
        "a key is needed (bulkrate keys list)"
        if guarded
        else "no key is needed, so only this machine is served"
    )
    lines = [
        f"bulkrate {__version__} serves {address}",
        f"  keys       {keys}",
        f"  data       {Path(settings.data).resolve()}",
    ]
    lines += [f"  upstream   {name}: {upstream.address}" for name, upstream in settings.upstreams.items()]
    if not settings.upstreams:
        lines.append("  upstream   none: every batch will be rejected; start again with --upstream URL")
    lines.append(f"  try        OPENAI_BASE_URL={address} OPENAI_API_KEY=any python your_batch_script.py")
    typer.echo("\n".join(lines), err=True)

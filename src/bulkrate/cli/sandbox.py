"""`bulkrate sandbox`: an inference server without a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bulkrate.errors import ConfigError


def sandbox(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes any free one.")] = 9090,
    latency_ms: Annotated[float, typer.Option(help="How long an answer takes on average.")] = 0.0,
    latency_spread: Annotated[
        float, typer.Option(help="How much that varies: sigma of a log-normal; 0 is not at all.")
    ] = 0.0,
    capacity: Annotated[int, typer.Option(help="Requests worked on at once; more wait. 0 is no limit.")] = 0,
    queue: Annotated[
        int | None, typer.Option(help="Requests that may wait; beyond them 503.", show_default="no limit")
    ] = None,
    error_rate: Annotated[
        float, typer.Option(help="Share of calls that are answered 500, from 0 to 1.")
    ] = 0.0,
    rate_limit: Annotated[
        float, typer.Option(help="Requests a second beyond which 429 is the answer; 0 is no limit.")
    ] = 0.0,
    idle_ms: Annotated[
        float | None,
        typer.Option(
            help="Close idle connections without a word, each after 0 to so long.", show_default="75 s"
        ),
    ] = None,
    restart_s: Annotated[
        float | None,
        typer.Option(
            help="Start again so long after a crash, by [[sandbox:crash]] or another.", show_default="never"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same answers.")] = 0,
    model: Annotated[
        list[str] | None,
        typer.Option(help="A model to serve; may be given several times.", show_default="any"),
    ] = None,
    key: Annotated[str | None, typer.Option(help="Ask for this key.", show_default="none")] = None,
    journal: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a line of JSON for every call that comes in.")
    ] = None,
) -> None:
    """Serve an upstream without a model, to rehearse with.

    It behaves like a busy inference server, and says in every answer that it is none.

    \b
        bulkrate sandbox --latency-ms 200 --capacity 64 --error-rate 0.01
    """
    from bulkrate.sandbox import SandboxOptions, keep, serve

    try:
        options = SandboxOptions(
            host=host,
            port=port,
            latency_ms=latency_ms,
            latency_spread=latency_spread,
            capacity=capacity,
            queue=queue,
            error_rate=error_rate,
            rate_limit=rate_limit,
            idle_ms=idle_ms,
            restart_s=restart_s,
            seed=seed,
            models=tuple(model or ()),
            key=key,
            journal=journal,
        )
        (serve if options.restart_s is None else keep)(options)
    except OSError as cause:
        raise ConfigError(cause.strerror) from cause
    except ValueError as cause:
        raise ConfigError(str(cause)) from cause

"""`bulkrate host`: the engine that jobs on this machine share; started by them, not by people."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from bulkrate.errors import ConfigError, FolderInUse

if TYPE_CHECKING:
    import asyncio

    from bulkrate.engine.context import Context
    from bulkrate.sandbox import SandboxOptions
    from bulkrate.toolkit.places.host import HostAsk

_LOOK_S = 0.5
# With nothing to do it stays for the next command of a script or a notebook.
_LINGER_S = 20.0


def host(folder: Annotated[Path, typer.Argument(metavar="FOLDER")]) -> None:
    """Run the engine of FOLDER while anyone is attached to it; told what to do on standard input."""
    import msgspec
    import uvloop

    from bulkrate.engine.folder import data_folder, owned
    from bulkrate.telemetry import log_to_stderr
    from bulkrate.toolkit.places.host import DOOR, EXIT_TAKEN, HostAsk, mark_of

    told = sys.stdin.buffer.read()
    ask = msgspec.json.decode(told, type=HostAsk)
    settings = msgspec.structs.replace(ask.settings, data=str(folder), host="127.0.0.1", port=0)
    log_to_stderr("host", "text")
    try:
        with owned(data_folder(settings)):
            (folder / DOOR).unlink(missing_ok=True)  # of a host that died
            uvloop.run(_run(folder, msgspec.structs.replace(ask, settings=settings), mark_of(told)))
    except FolderInUse:
        sys.exit(EXIT_TAKEN)


async def _run(folder: Path, ask: HostAsk, mark: str) -> None:
    import msgspec

    from bulkrate.engine.context import close_context, open_context
    from bulkrate.engine.processes.supervise import Children, start_afresh

    settings = ask.settings
    sandbox = None
    if ask.sandbox is not None:
        from bulkrate.config import Upstream
        from bulkrate.sandbox.keep import Life

        sandbox = Life(sandbox_options(ask.sandbox))
        try:
            upstream = Upstream(url=f"http://127.0.0.1:{sandbox.port()}/v1")
        except OSError as error:
            raise ConfigError(f"the sandbox cannot start: {error}") from error
        settings = msgspec.structs.replace(settings, upstreams={**settings.upstreams, "sandbox": upstream})
    children = Children(settings)
    try:
        await children.start()
        context = open_context(settings, bells=children.bells, board=children.board)
        try:
            start_afresh(context)
            children.begin(context)
            await _serve(folder, context, mark)
        finally:
            await children.stop()
            close_context(context)
    finally:
        await children.stop()
        if sandbox is not None:
            sandbox.stop()


def sandbox_options(given: dict[str, Any]) -> SandboxOptions:
    """What stands behind `sandbox?` as options. Raises `ConfigError`."""
    import msgspec

    from bulkrate.sandbox import SandboxOptions

    known = {field.name for field in msgspec.structs.fields(SandboxOptions)} - {"host", "port", "restart_s"}
    if unknown := given.keys() - known:
        raise ConfigError(
            f"the sandbox has no option {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}"
        )
    try:
        options = msgspec.convert(
            given,
            SandboxOptions,
            strict=False,
            dec_hook=lambda kind, value: Path(value) if kind is Path else value,
        )
        return msgspec.structs.replace(options, host="127.0.0.1", port=0)
    except (msgspec.ValidationError, ValueError, TypeError) as error:
        raise ConfigError(f"the sandbox's options do not fit: {error}") from error


async def _serve(folder: Path, context: Context, mark: str) -> None:
    import asyncio

    from bulkrate.engine import Engine
    from bulkrate.server.app import create_app
    from bulkrate.server.run import run
    from bulkrate.toolkit.places.host import DOOR

    engine = Engine(context)
    for old in await engine.keys.list():
        if old.revoked_at is None:
            await engine.keys.revoke(old.id)
    _, secret = await engine.keys.create("default", "jobs on this machine")
    door = folder / DOOR

    def ready(_: str, port: int) -> None:
        _write_door(door, port, secret, mark)

    async with engine.listening(), asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(
            run(create_app(engine), host=context.settings.host, port=0, on_started=ready)
        )
        with (folder / "attached").open("ab") as attached:
            await _until_left_alone(attached, context, serving)
            # Whoever comes now waits for the lock, and starts the next host when this one is gone.
            door.unlink(missing_ok=True)
            serving.cancel()
            while not serving.done():
                await asyncio.wait({serving})


async def _until_left_alone(attached: IO[bytes], context: Context, serving: asyncio.Task[None]) -> None:
    """Return, with the exclusive lock, when nobody is attached; later, when there is no work to stop."""
    import asyncio

    alone_s = 0.0
    while not serving.done():
        await asyncio.wait({serving}, timeout=_LOOK_S)
        try:
            fcntl.flock(attached, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            alone_s = 0.0
            continue
        counts = await context.ask(context.store.batches.counts)
        alone_s += _LOOK_S
        if alone_s >= _LINGER_S or any(counts.get(status) for status in _AT_WORK):
            return
        fcntl.flock(attached, fcntl.LOCK_UN)


_AT_WORK = ("validating", "in_progress", "finalizing", "cancelling")


def _write_door(path: Path, port: int, secret: str, mark: str) -> None:
    import msgspec

    from bulkrate.toolkit.places.host import Door

    door = Door(url=f"http://127.0.0.1:{port}/v1", key=secret, pid=os.getpid(), mark=mark)
    data = msgspec.json.encode(door)
    scratch = path.with_suffix(".new")
    with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:  # noqa: PTH123  # with rights from the start
        file.write(data)
    scratch.replace(path)

"""Moving the job of a command on: in front of whoever typed it, in the background, or only for show."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import typer

from bulkrate.cli import exits
from bulkrate.cli.job_options import JobOptions
from bulkrate.cli.job_screen import aside, exit_code, screen, tell
from bulkrate.cli.job_spec import spec_of
from bulkrate.errors import ConfigError, JobError

if TYPE_CHECKING:
    from bulkrate.toolkit.jobs.desk import Desk
    from bulkrate.toolkit.jobs.record import JobFolder, JobRecord
    from bulkrate.toolkit.questions.asking import Asking

# A process in the background has so long to take up its job before it is left alone with it.
_BEGIN_S_MAX = 60.0
_BEGIN_LOOK_S = 0.05


def run_job(asking: Asking, what: str | None, options: JobOptions) -> None:
    """Begin the job that a command describes, or go on with it, and exit with its code."""
    if options.job:
        asking, what, options = _named(asking, what, options)
    if what is None:
        raise typer.BadParameter("name a FILE with rows, or a job of the configuration with --job NAME")
    with interruptions(None):
        _run(asking, what, options)


def _run(asking: Asking, what: str, options: JobOptions) -> None:
    desk = desk_for(options.data, options.config)
    spec = spec_of(asking, what, options)
    new_home = not desk.home.exists()
    folder, known = desk.begin(spec, fresh=options.fresh, overwrite=options.overwrite or options.dry_run)
    if known and not options.quiet:
        aside(_welcome_back(folder.load()))
    if options.dry_run:
        try:
            _dry_run(desk, folder, options)
        finally:
            if not known:
                desk.jobs.remove(folder)
            if new_home:
                desk.jobs.tidy()
    elif options.detach:
        _detach(desk, folder, options)
    else:
        finish(desk, folder, as_json=options.as_json, quiet=options.quiet, yes=options.yes)


def _named(asking: Asking, what: str | None, options: JobOptions) -> tuple[Asking, str | None, JobOptions]:
    """The same with what `[jobs.NAME]` says, where the command line says nothing."""
    from bulkrate.cli.job_files import named_job
    from bulkrate.cli.job_spec import schema_of, text_of

    table, what, options = named_job(options.job or "", what, options)
    for key in ("prompt", "system", "template"):
        if key in table:
            table[key] = text_of(table[key])
    if "schema" in table:
        table["schema"] = schema_of(table["schema"])
    default = type(asking)()
    said = {
        name: value
        for name, value in msgspec.structs.asdict(asking).items()
        if value != getattr(default, name)
    }
    try:
        return msgspec.convert(table | said, type(asking)), what, options
    except msgspec.ValidationError as error:
        raise ConfigError(f"[jobs.{options.job}] does not fit: {error}") from error


def desk_for(data: str | None, config_file: Path | None) -> Desk:
    """The jobs of the folder that flags and configuration name."""
    from bulkrate.toolkit.jobs.desk import Desk

    return Desk.at(data, os.environ, file=config_file, warn=lambda text: aside(f"bulkrate: {text}"))


def finish(
    desk: Desk,
    folder: JobFolder,
    *,
    as_json: bool,
    quiet: bool,
    yes: bool,
    max_cost: str | None = None,
    again: bool = False,
) -> None:
    """Move a job to its end, print its summary, and exit with its code."""
    began = time.monotonic()
    with interruptions(folder.id), screen(quiet=quiet, yes=yes) as listener:
        record = folder.load()
        if again or not record.state.ended:
            record = desk.go_on(folder, listener, again=again, max_cost=max_cost)
        else:
            record = desk.write_again(folder)
    tell(record, seconds=time.monotonic() - began, as_json=as_json, wrote=True)
    raise typer.Exit(exit_code(record))


@contextmanager
def interruptions(job_id: str | None) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the command, and say how to go on; what was done is kept. `job_id` is None
    before there is a job.
    """
    on = "The same command goes on" if job_id is None else f"Go on with: bulkrate resume {job_id}"

    def stop(_number: int, _frame: object) -> None:
        raise _TerminatedError

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except (KeyboardInterrupt, _TerminatedError) as error:
        aside(f"\nstopped; nothing is lost. {on}")
        interrupted = isinstance(error, KeyboardInterrupt)
        raise typer.Exit(exits.INTERRUPTED if interrupted else exits.TERMINATED) from None
    finally:
        signal.signal(signal.SIGTERM, before)


class _TerminatedError(Exception):
    """SIGTERM came."""


def leave(desk: Desk, folder: JobFolder, *, as_json: bool) -> None:
    """Let a process of its own go on with a job, and say so. Raises as `_spawn`."""
    pid = _spawn(desk, folder)
    if as_json or not sys.stdout.isatty():
        told = {"job": folder.id, "pid": pid, "rows": folder.load().rows}
        typer.echo(msgspec.json.encode(told).decode())
    aside(f"job {folder.id} goes on in the background (process {pid})")
    aside(f"follow it with: bulkrate watch {folder.id}")


def _spawn(desk: Desk, folder: JobFolder) -> int:
    """Let a process of its own go on with a job, and wait until it does; its number.

    Raises `JobError` when it ended before the job did.
    """
    with (folder.path / "log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603  # our own interpreter and package
            [
                sys.executable,
                "-m",
                "bulkrate",
                "resume",
                folder.id,
                "--yes",
                "--quiet",
                "--data",
                str(desk.home),
            ],
            # A module of the user's in this folder must not stand in for one of ours.
            env={**os.environ, "PYTHONSAFEPATH": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    until = time.monotonic() + _BEGIN_S_MAX
    while process.poll() is None and not folder.is_driven() and time.monotonic() < until:
        time.sleep(_BEGIN_LOOK_S)
    if process.poll() is not None and not folder.load().state.ended:
        raise JobError(
            f"the process in the background ended at once with code {process.returncode}; "
            f"what it said is in {folder.path / 'log'}"
        )
    return process.pid


def _detach(desk: Desk, folder: JobFolder, options: JobOptions) -> None:
    with interruptions(folder.id), screen(quiet=options.quiet, yes=options.yes) as listener:
        desk.go_on(folder, listener, only_prepare=True)
    leave(desk, folder, as_json=options.as_json)


def _dry_run(desk: Desk, folder: JobFolder, options: JobOptions) -> None:
    """Show what would be asked and what it would cost; leave nothing behind that was not there."""
    told, forecast, example = desk.preview(folder)
    if options.as_json or not sys.stdout.isatty():
        typer.echo(
            msgspec.json.encode(
                {"job": folder.id, "asks": told, "example": example, **forecast.told()}
            ).decode()
        )
        return
    typer.echo(told)
    typer.echo(f"\nthe first request:\n{example}\n")
    typer.echo("\n".join(forecast.lines()))
    typer.echo("nothing was sent (--dry-run)", err=True)


def _welcome_back(record: JobRecord) -> str:
    if record.state.ended:
        unanswered = any(record.counts.get(name) for name in ("pending", "failed", "invalid"))
        failed = f"; send what failed with: bulkrate retry {record.id}" if unanswered else ""
        return (
            f"the same job over the same rows is {record.state} already ({record.id}): nothing is sent. "
            f"Begin anew with --fresh{failed}"
        )
    return f"going on with job {record.id}"

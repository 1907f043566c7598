"""Running a job in front of a person or a program: progress, questions, the summary, the exit code."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import typer

from bulkrate.cli import exits
from bulkrate.cli.job_options import JobOptions
from bulkrate.cli.job_spec import spec_of
from bulkrate.errors import ConfigError, JobError, OverBudget
from bulkrate.wording import typed

if TYPE_CHECKING:
    from bulkrate.toolkit.jobs.desk import Desk
    from bulkrate.toolkit.jobs.progress import Progress
    from bulkrate.toolkit.jobs.record import JobFolder, JobRecord
    from bulkrate.toolkit.questions.asking import Asking

# A process in the background has so long to take up its job before it is left alone with it.
_BEGIN_S_MAX = 60.0
_BEGIN_LOOK_S = 0.05
# Without a terminal a line is printed this often.
_LINE_S = 30.0
#: What a round of requests is, while it runs.
_DOING = {
    "first": "asking",
    "retry": "trying again",
    "reask": "asking again",
    "escalate": "asking a better model",
}


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
        _say(_welcome_back(folder.load()))
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

    return Desk.at(data, os.environ, file=config_file, warn=lambda text: _say(f"bulkrate: {text}"))


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
    tell(record, seconds=time.monotonic() - began, as_json=as_json)
    raise typer.Exit(exit_code(record))


def exit_code(record: JobRecord, *, process: int | None = None) -> int:
    """What a job came to, or what stopped it where no `process` moves it on."""
    from bulkrate.toolkit.jobs.alarm import is_good

    if not record.state.ended:
        stopped = record.trouble is not None and process is None
        return exits.code_named(record.trouble_kind) if stopped else exits.STILL_RUNNING
    return exits.OK if is_good(record) else exits.ROWS_FAILED


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
        _say(f"\nstopped; nothing is lost. {on}")
        interrupted = isinstance(error, KeyboardInterrupt)
        raise typer.Exit(exits.INTERRUPTED if interrupted else exits.TERMINATED) from None
    finally:
        signal.signal(signal.SIGTERM, before)


class _TerminatedError(Exception):
    """SIGTERM came."""


@contextmanager
def screen(*, quiet: bool, yes: bool) -> Iterator[Any]:
    """A listener that shows progress on standard error: a bar on a terminal, else a line now and then."""
    from bulkrate.toolkit.jobs.desk import Listener

    class Shown(Listener):
        """Progress and questions for whoever started the command."""

        def __init__(self, show: Callable[[Progress], None], say: Callable[[str], None]) -> None:
            self._show = show
            self._say = say

        def progress(self, progress: Progress) -> None:
            self._show(progress)

        def say(self, text: str) -> None:
            self._say(text)

        def confirm(self, record: JobRecord, forecast: Any) -> bool:
            if not quiet:
                _say("\n".join(forecast.lines()))
            if yes:
                return True
            if not (sys.stdin.isatty() and sys.stderr.isatty()):
                raise OverBudget(
                    f"this costs money, or may, and there is nobody to ask; give --yes, or go on with: "
                    f"bulkrate resume {record.id} --yes"
                )
            try:
                return typer.confirm("Send?", default=False, err=True)
            except typer.Abort:  # Ctrl-C, as Typer tells it
                raise KeyboardInterrupt from None

    if quiet:
        yield Shown(lambda _: None, lambda _: None)
    elif sys.stderr.isatty():
        with _bar() as (show, say):
            yield Shown(show, say)
    else:
        yield Shown(_lines(), _say)


@contextmanager
def _bar() -> Iterator[tuple[Callable[[Progress], None], Callable[[str], None]]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    bar = Bar(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[more]}"),
        console=console,
        transient=True,
    )
    task = bar.add_task("", total=None, more="")
    started = False

    def show(progress: Progress) -> None:
        nonlocal started
        if not started:
            bar.start()
            started = True
        bar.update(
            task,
            description=progress.paused or _DOING.get(progress.purpose, ""),
            total=progress.rows,
            completed=progress.done,
            more=_more(progress),
        )

    try:
        yield show, lambda text: console.print(f"[dim]{text}[/dim]")
    finally:
        if started:
            bar.stop()


def _lines() -> Callable[[Progress], None]:
    last = time.monotonic()

    def show(progress: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= _LINE_S:
            last = time.monotonic()
            told = f"{progress.done:,} of {progress.rows:,} rows  {_more(progress)}"
            _say(f"{told}  {progress.paused or ''}".rstrip())

    return show


def _more(progress: Progress) -> str:
    told = [f"{progress.failed:,} failed"] if progress.failed else []
    if progress.in_flight:
        told.append(f"{progress.in_flight:,} in flight")
    if progress.rows_per_second:
        told.append(f"{progress.rows_per_second:,.0f} rows/s")
    if progress.seconds_left is not None and progress.done < progress.rows:
        told.append(f"{duration(progress.seconds_left)} left")
    if progress.usd:
        told.append(f"${progress.usd:,.2f}")
    return ", ".join(told)


def tell(record: JobRecord, *, seconds: float | None, as_json: bool, process: int | None = None) -> None:
    """Print the summary of a job. `process` moves it on, if anybody does."""
    from bulkrate.toolkit.jobs.summary import summary, summary_lines

    if as_json or not sys.stdout.isatty():
        if record.spec.sink.what != "-":
            told = summary(record, typed)
            told |= {"process": process, "exit_code": exit_code(record, process=process)}
            typer.echo(msgspec.json.format(msgspec.json.encode(told), indent=2).decode())
        if as_json:
            return
    typer.echo("\n".join(summary_lines(record, typed, seconds)), err=True)


def duration(seconds: float) -> str:
    """A time for people: `45 s`, `3 min 20 s`, `5 h 10 min`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3_600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3_600} h {whole % 3_600 // 60} min"


def leave(desk: Desk, folder: JobFolder, *, as_json: bool) -> None:
    """Let a process of its own go on with a job, and say so. Raises as `_spawn`."""
    pid = _spawn(desk, folder)
    if as_json or not sys.stdout.isatty():
        told = {"job": folder.id, "pid": pid, "rows": folder.load().rows}
        typer.echo(msgspec.json.encode(told).decode())
    _say(f"job {folder.id} goes on in the background (process {pid})")
    _say(f"follow it with: bulkrate watch {folder.id}")


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


def unanswered(record: JobRecord) -> int:
    """How many rows have no answer that should have one."""
    return sum(record.counts.get(name, 0) for name in ("pending", "failed", "invalid"))


def _welcome_back(record: JobRecord) -> str:
    if record.state.ended:
        failed = f"; send what failed with: bulkrate retry {record.id}" if unanswered(record) else ""
        return (
            f"the same job over the same rows is {record.state} already ({record.id}): nothing is sent. "
            f"Begin anew with --fresh{failed}"
        )
    return f"going on with job {record.id}"


def _say(text: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        typer.echo(text, err=True)

"""What is told of a job: its progress, the question about money, its summary, its exit code."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import typer

from bulkrate.cli import exits
from bulkrate.errors import OverBudget
from bulkrate.wording import typed

if TYPE_CHECKING:
    from bulkrate.toolkit.jobs.progress import Progress
    from bulkrate.toolkit.jobs.record import JobRecord

# Without a terminal a line is printed this often.
_LINE_S = 30.0
#: What a round of requests is, while it runs.
_DOING = {
    "first": "asking",
    "retry": "trying again",
    "reask": "asking again",
    "escalate": "asking a better model",
}


def exit_code(record: JobRecord, *, process: int | None = None) -> int:
    """What a job came to, or what stopped it where no `process` moves it on."""
    from bulkrate.toolkit.jobs.alarm import is_good

    if not record.state.ended:
        stopped = record.trouble is not None and process is None
        return exits.code_named(record.trouble_kind) if stopped else exits.STILL_RUNNING
    return exits.OK if is_good(record) else exits.ROWS_FAILED


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
                aside("\n".join(forecast.lines()))
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
        yield Shown(_lines(), aside)


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
            aside(f"{told}  {progress.paused or ''}".rstrip())

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


def tell(
    record: JobRecord,
    *,
    seconds: float | None = None,
    as_json: bool,
    wrote: bool = False,
    process: int | None = None,
) -> None:
    """Print the summary of a job. `wrote`: its result was written just now, and standard output may be its
    place. `process` moves the job on, if anybody does.
    """
    from bulkrate.toolkit.jobs.summary import summary, summary_lines

    if as_json or not sys.stdout.isatty():
        if not wrote or record.spec.sink.what != "-":
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


def aside(text: str) -> None:
    """Print a text on standard error, if anybody reads it."""
    with contextlib.suppress(BrokenPipeError):
        typer.echo(text, err=True)

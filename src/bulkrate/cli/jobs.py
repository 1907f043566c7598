"""`bulkrate jobs`, `status`, `watch`, `resume`, `results`, `retry`, `cancel`, `export`, `prune`."""

from __future__ import annotations

import difflib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bulkrate.cli import exits
from bulkrate.errors import JobError, SinkError, TimedOut
from bulkrate.wording import typed

if TYPE_CHECKING:
    from bulkrate.toolkit.jobs.desk import Desk
    from bulkrate.toolkit.jobs.record import JobFolder, JobRecord

_LOOK_S = 0.5
# It looks every few seconds; the end of an upload may take longer.
_LET_GO_S_MAX = 60.0

Job = Annotated[
    str | None,
    typer.Argument(
        metavar="JOB", help="A job's id, how that begins, or its name.", show_default="the newest"
    ),
]
Data = Annotated[
    str | None, typer.Option("--data", metavar="DIR", help="Folder for jobs.", show_default=".bulkrate")
]
Config = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Configuration file.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, as when it is piped.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before money is spent.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Write over an output that is there already.")]

jobs_app = typer.Typer(help="List jobs, and compare the runs of one.", invoke_without_command=True)


@jobs_app.callback()
def jobs(context: typer.Context, data: Data = None, config: Config = None, as_json: Json = False) -> None:
    """List the jobs of this folder, newest first."""
    if context.invoked_subcommand is not None:
        return
    records = list(reversed(_desk(data, config).jobs.records()))
    _table(records, as_json)


@jobs_app.command()
def history(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The name given with --name.")] = None,
    data: Data = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show every run of a job: success rate, cost and time, oldest first."""
    records = [record for record in _desk(data, config).jobs.records() if record.spec.name]
    if name is not None:
        names = {record.spec.name or "" for record in records}
        records = [record for record in records if record.spec.name == name]
        if not records:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "`bulkrate jobs history` lists all names"
            raise JobError(f"no job was run under the name {name!r}; {hint}")
    _table(records, as_json)


def status(job: Job = None, data: Data = None, config: Config = None, as_json: Json = False) -> None:
    """Tell how a job is, and exit with its code: 0 done, 6 rows failed, 7 it is not done yet."""
    from bulkrate.cli.job_screen import exit_code, tell

    folder = _folder(_desk(data, config), job)
    process = folder.driver()
    record = folder.load()
    tell(record, as_json=as_json, process=process)
    raise typer.Exit(exit_code(record, process=process))


def watch(
    job: Job = None,
    data: Data = None,
    config: Config = None,
    timeout: Annotated[
        str | None, typer.Option("--timeout", metavar="30m", help="Stop watching after that; exit code 7.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Follow a job that another process moves on, until it ends. Stopping to watch stops nothing else."""
    from bulkrate.cli.job_screen import exit_code, screen, tell
    from bulkrate.cli.job_spec import seconds

    folder = _folder(_desk(data, config), job)
    until = None if (limit := seconds("--timeout", timeout)) is None else time.monotonic() + limit
    with screen(quiet=quiet, yes=True) as listener:
        record = _follow(folder, listener, until)
    tell(record, as_json=as_json)
    raise typer.Exit(exit_code(record))


def resume(
    job: Job = None,
    data: Data = None,
    config: Config = None,
    as_json: Json = False,
    quiet: Quiet = False,
    yes: Yes = False,
    max_cost: Annotated[
        float | None, typer.Option("--max-cost", metavar="DOLLARS", help="Do not begin what may cost more.")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Go on in the background.")] = False,
) -> None:
    """Go on with a job that was stopped, by Ctrl-C, a crash or a reboot. Nothing is sent twice."""
    from bulkrate.cli.follow_job import finish, leave

    desk = _desk(data, config)
    folder = _folder(desk, job)
    if detach:
        leave(desk, folder, as_json=as_json)
        return
    finish(desk, folder, as_json=as_json, quiet=quiet, yes=yes, max_cost=_dollars(max_cost))


def retry(
    job: Job = None,
    data: Data = None,
    config: Config = None,
    as_json: Json = False,
    quiet: Quiet = False,
    yes: Yes = False,
    max_cost: Annotated[
        float | None, typer.Option("--max-cost", metavar="DOLLARS", help="Do not begin what may cost more.")
    ] = None,
) -> None:
    """Send the rows of an ended job again that have no answer, and only those; then write the result anew."""
    from bulkrate.cli.follow_job import finish

    desk = _desk(data, config)
    folder = _folder(desk, job)
    finish(desk, folder, as_json=as_json, quiet=quiet, yes=yes, max_cost=_dollars(max_cost), again=True)


def cancel(job: Job = None, data: Data = None, config: Config = None, as_json: Json = False) -> None:
    """Stop a job for good. What was answered is kept, and written."""
    from bulkrate.cli.job_screen import screen, tell

    desk = _desk(data, config)
    folder = _folder(desk, job)
    _stop_driver(folder)
    with screen(quiet=True, yes=True) as listener:
        record = desk.cancel(folder, listener)
    tell(record, as_json=as_json, wrote=True)


def results(
    job: Job = None,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE|URL|-", help="Where to write.")
    ] = "-",
    failed: Annotated[bool, typer.Option("--failed", help="Only rows without an answer.")] = False,
    overwrite: Overwrite = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Write the rows of a job with the answers there are, also while it runs."""
    from bulkrate.toolkit.jobs.writing import ERROR
    from bulkrate.toolkit.sinks import open_sink

    desk = _desk(data, config)
    runner = desk.runner(_folder(desk, job))
    if runner.record.rows is None:
        raise JobError(f"job {runner.record.id} is still reading its rows")
    if runner.record.spec.sink.what != output or not runner.record.written:
        _keep(output, overwrite=overwrite)
    runner.export(open_sink(output), (lambda row: row.get(ERROR) is not None) if failed else None)


def export(
    job: Job = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE.jsonl", help="Where to write.")
    ] = Path("requests.jsonl"),
    overwrite: Overwrite = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Write the requests that a job would send now, in OpenAI's batch format."""
    from bulkrate.toolkit.jobs.export import export_requests

    desk = _desk(data, config)
    _keep(str(output), overwrite=overwrite)
    count = export_requests(desk.runner(_folder(desk, job)), output)
    typer.echo(f"{count:,} requests are in {output}", err=True)


def prune(
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="30d", help="Only jobs that ended longer ago than this.")
    ] = "30d",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before they are deleted.")] = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Delete ended jobs with their rows and answers. Results that were written stay where they are."""
    from bulkrate.cli.job_spec import seconds
    from bulkrate.toolkit.jobs.record import JobFolder

    desk = _desk(data, config)
    before = time.time() - (seconds("--older-than", older_than) or 0)
    old = [
        record for record in desk.jobs.records() if record.state.ended and (record.ended_at or 0) <= before
    ]
    if not old:
        typer.echo(f"no job has ended longer than {older_than} ago", err=True)
        return
    if not yes:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise typer.BadParameter(
                f"{len(old)} jobs would be deleted, and there is nobody to ask; give --yes"
            )
        if not typer.confirm(f"Delete {len(old)} jobs, {old[0].id} to {old[-1].id}?", err=True):
            raise typer.Exit(exits.USAGE)
    for record in old:
        desk.jobs.remove(JobFolder(desk.home, record.id))
    typer.echo(f"deleted {len(old)} jobs", err=True)


def _follow(folder: JobFolder, listener: Any, until: float | None) -> JobRecord:
    from bulkrate.toolkit.jobs.patience import Moving
    from bulkrate.toolkit.jobs.progress import Progress, Speed

    speed = Speed(time.time)
    while not (record := folder.load()).state.ended:
        if not folder.is_driven() and not folder.load().state.ended:
            raise JobError(
                f"nobody moves job {record.id} on ({record.trouble or record.state}); "
                f"go on with: bulkrate resume {record.id}"
            )
        done = (record.rows or 0) - record.counts.get("pending", record.rows or 0)
        listener.progress(Progress.of(record, done=done, moving=Moving(), speed=speed.now(done)))
        if until is not None and time.monotonic() > until:
            raise TimedOut(f"job {record.id} is still {record.state}; it goes on")
        time.sleep(_LOOK_S)
    return record


def _stop_driver(folder: JobFolder) -> None:
    """Let the process that moves a job on let go of it, if there is one: the job is to be ended here."""
    until = time.monotonic() + _LET_GO_S_MAX
    while folder.is_driven():
        if time.monotonic() > until:
            raise JobError(
                f"process {folder.driver()} is busy with job {folder.id} and does not let go; try again later"
            )
        folder.ask_to_stop()
        time.sleep(_LOOK_S / 10)


def _table(records: list[JobRecord], as_json: bool) -> None:
    import msgspec

    from bulkrate.toolkit.jobs.summary import summary

    told = [summary(record, typed) for record in records]
    if as_json or not sys.stdout.isatty():
        typer.echo(msgspec.json.format(msgspec.json.encode(told), indent=2).decode())
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    # An id says when it was begun, and is there to be copied: it is never cut.
    table.add_column("job", no_wrap=True)
    table.add_column("state")
    for column in ("rows", "failed", "success", "cost", "took"):
        table.add_column(column, justify="right")
    for record, facts in zip(records, told, strict=True):
        table.add_row(*_cells(record, facts))
    Console().print(table)


def _cells(record: JobRecord, facts: dict[str, Any]) -> list[str]:
    from bulkrate.cli.job_screen import duration

    rate = facts["success_rate"]
    return [
        record.id,
        record.state.value,
        f"{record.rows or 0:,}",
        f"{facts['failed']:,}",
        "" if rate is None else f"{rate:.1%}",
        "" if facts["cost_usd"] is None else f"${float(facts['cost_usd']):,.4f}",
        "" if record.ended_at is None else duration(record.ended_at - record.created_at),
    ]


def _desk(data: str | None, config: Path | None) -> Desk:
    from bulkrate.cli.follow_job import desk_for

    return desk_for(data, config)


def _keep(output: str, *, overwrite: bool) -> None:
    from bulkrate.toolkit.sinks import exists

    if output != "-" and not overwrite and exists(output):
        raise SinkError(f"{output} exists; name another --output, or write over it with --overwrite")


def _folder(desk: Desk, job: str | None) -> JobFolder:
    return desk.jobs.newest() if job is None else desk.jobs.find(job)


def _dollars(amount: float | None) -> str | None:
    from bulkrate.toolkit.jobs.spec import dollars

    return dollars(amount)

"""The command line: one file per command. Each parses, calls and prints; none decides."""

from __future__ import annotations

import sys

import typer

from bulkrate import __version__
from bulkrate.cli import exits, host, jobs, keys, prices, recipes, run, sandbox, serve, top, validate
from bulkrate.errors import BulkrateError

app = typer.Typer(
    help=(
        "The Batch API you run yourself, and rows to answers in one command: "
        "through any inference server or provider."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Plain text: it wraps as the terminal is wide, can be piped, and starts faster.
    rich_markup_mode=None,
)
app.command("serve")(serve.serve)
app.command("host", hidden=True)(host.host)
app.command("sandbox")(sandbox.sandbox)
app.command("validate")(validate.validate)
app.command("top")(top.top)
app.command("run")(run.run)
app.command("classify")(recipes.classify)
app.command("embed")(recipes.embed)
app.command("extract")(recipes.extract)
app.command("summarize")(recipes.summarize)
app.command("translate")(recipes.translate)
app.command("report")(recipes.report)
app.add_typer(jobs.jobs_app, name="jobs")
for command in (
    jobs.status,
    jobs.watch,
    jobs.resume,
    jobs.results,
    jobs.retry,
    jobs.cancel,
    jobs.export,
    jobs.prune,
):
    app.command()(command)
app.add_typer(keys.app, name="keys")
app.add_typer(prices.app, name="prices")


@app.callback(invoke_without_command=True)
def _about(
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        typer.echo(f"bulkrate {__version__}")
        raise typer.Exit


def main() -> None:
    """The `bulkrate` command.

    An error of ours is one line on standard error and an exit code, never a traceback.
    """
    try:
        app()
    except BulkrateError as error:
        typer.echo(f"bulkrate: {error}", err=True)
        sys.exit(exits.code_of(error))

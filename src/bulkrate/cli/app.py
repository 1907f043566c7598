"""The command line as a whole: what all commands are under, and how their errors are told."""

from __future__ import annotations

import sys

import typer

from bulkrate import __version__
from bulkrate.cli.commands import Commands
from bulkrate.errors import BulkrateError
from bulkrate.wording import typed

app = typer.Typer(
    cls=Commands,
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


@app.callback(invoke_without_command=True)
def _about(
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        typer.echo(f"bulkrate {__version__}")
        raise typer.Exit


def command() -> None:
    """Do what was typed. An error of ours is one line on standard error and an exit code, no traceback."""
    try:
        app()
    except BulkrateError as error:
        from bulkrate.cli.exits import code_of

        typer.echo(f"bulkrate: {typed(error.wording)}", err=True)
        sys.exit(code_of(error))

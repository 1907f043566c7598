"""`bulkrate validate`: every fault of an input file, before anything is uploaded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bulkrate.cli import exits
from bulkrate.errors import InvalidRequest, SourceError
from bulkrate.providers.endpoints import ENDPOINTS, normal_path


def validate(
    file: Annotated[Path, typer.Argument(metavar="FILE.jsonl", help="The input file of a batch.")],
    endpoint: Annotated[
        str | None, typer.Option(help="The endpoint of the batch.", show_default="what the first line says")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="A model that will be served; may be given several times.", show_default="any"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the faults as JSON.")] = False,
) -> None:
    """Find every fault of an input file, as the server would.

    Prints each with its line number. Exit code 0: fit to run; 6: not.
    """
    import asyncio

    import msgspec

    from bulkrate.engine.asks.check import check_file

    if endpoint is not None and normal_path(endpoint) not in ENDPOINTS:
        raise SourceError(f"--endpoint is {endpoint!r}; it may be {', '.join(ENDPOINTS)}")
    try:
        report = asyncio.run(check_file(file, endpoint=endpoint and normal_path(endpoint), models=model))
    except InvalidRequest as error:
        raise SourceError(error.message) from error
    if as_json:
        typer.echo(msgspec.json.encode(report))
    else:
        for fault in report.faults:
            where = f"line {fault.line}: " if fault.line else ""
            typer.echo(f"{where}{fault.code}: {fault.message}")
        if report.faults_left_out:
            typer.echo(f"... and {report.faults_left_out} more faults")
        verdict = "fit to run" if report.fit else f"{len(report.faults) + report.faults_left_out} faults"
        models = ", ".join(f"{name or '(none)'} {lines}" for name, lines in report.lines_by_model.items())
        typer.echo(f"{file}: {report.lines} lines for {report.endpoint}: {verdict}", err=True)
        if models:
            typer.echo(f"lines by model: {models}", err=True)
    if not report.fit:
        raise typer.Exit(exits.ROWS_FAILED)

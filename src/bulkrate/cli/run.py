"""`bulkrate run`: a question for every row, or a file of requests as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bulkrate.cli.job_options import JobOptions, takes_job_options

_HEAD_BYTES = 1 << 20


@takes_job_options
def run(
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE|URL|-",
            help=(
                "Rows (.csv .tsv .jsonl .parquet, s3://…, a database, - for standard input), "
                "or requests as OpenAI's Batch API takes them."
            ),
        ),
    ] = None,
    *,
    options: JobOptions,
    prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt",
            "-p",
            metavar="TEXT|@FILE",
            help="What is asked of each row; {{ column }} stands for its cell.",
        ),
    ] = None,
    system: Annotated[
        str | None, typer.Option("--system", metavar="TEXT|@FILE", help="The system text; a template, too.")
    ] = None,
    schema: Annotated[
        str | None,
        typer.Option(
            "--schema",
            metavar="FILE|MODULE:MODEL",
            help="Answers are JSON of this schema, checked; each property is a column.",
        ),
    ] = None,
    answer: Annotated[
        str | None,
        typer.Option("--answer", metavar="COLUMN", help="What to call the column.", show_default="answer"),
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(
            "--endpoint", metavar="PATH", help="The API's path.", show_default="/v1/chat/completions"
        ),
    ] = None,
) -> None:
    """Ask one question of every row, and get the table back with answers.

    What it will cost is shown before, and asked for once if it is money. Ctrl-C at any moment, a crash and a
    reboot lose nothing: the same command goes on where it stopped, and no row is sent or paid for twice.

    A .jsonl file of requests in OpenAI's batch format is run as it is, to the same format.

    \b
        bulkrate run reviews.csv -p 'Good, bad or neutral? {{ text }}' -m gpt-4o-mini -o out.parquet
        bulkrate run requests.jsonl -o answers.jsonl
    """
    from bulkrate.cli.follow_job import run_job
    from bulkrate.cli.job_spec import schema_of, text_of
    from bulkrate.toolkit.questions.asking import Asking

    if prompt is None and file is not None and _holds_requests(file):
        asking = Asking(recipe="requests", endpoint=endpoint)
    else:
        asking = Asking(
            recipe="map",
            prompt=text_of(prompt),
            system=text_of(system),
            schema=schema_of(schema),
            answer=answer,
            endpoint=endpoint,
        )
    run_job(asking, file, options)


def _holds_requests(file: str) -> bool:
    """Whether the first line of a JSON-lines file is a request of OpenAI's batch format."""
    import msgspec

    path = Path(file)
    if path.suffix not in {".jsonl", ".ndjson"} or not path.is_file():
        return False
    with path.open("rb") as opened:
        first = opened.readline(_HEAD_BYTES)
    try:
        found = msgspec.json.decode(first)
    except msgspec.DecodeError:
        return False
    return isinstance(found, dict) and isinstance(found.get("body"), dict) and "custom_id" in found

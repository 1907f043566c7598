"""`bulkrate classify`, `embed`, `extract`, `summarize`, `translate`, `report`: `run` with the asking done."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bulkrate.cli.job_options import JobOptions, takes_job_options

File = Annotated[
    str | None,
    typer.Argument(metavar="FILE|URL|-", help="Rows: .csv .tsv .jsonl .parquet, s3://…, a database, -."),
]
TextColumn = Annotated[
    str | None, typer.Option("--column", "-c", metavar="COLUMN", help="The column with the text.")
]
PromptText = Annotated[
    str | None,
    typer.Option(
        "--prompt",
        "-p",
        metavar="TEXT|@FILE",
        help="In place of the recipe's own words; {{ column }} stands for a cell.",
    ),
]
SystemText = Annotated[
    str | None, typer.Option("--system", metavar="TEXT|@FILE", help="The system text; a template, too.")
]
AnswerColumn = Annotated[
    str | None, typer.Option("--answer", metavar="COLUMN", help="What to call the column of the answers.")
]


@takes_job_options
def classify(
    file: File = None,
    *,
    options: JobOptions,
    labels: Annotated[
        str | None, typer.Option("--labels", metavar="A,B,C", help="What a row can be.")
    ] = None,
    column: TextColumn = None,
    prompt: PromptText = None,
    system: SystemText = None,
    other: Annotated[bool, typer.Option("--other", help="Allow the label 'other'.")] = False,
    confidence: Annotated[
        bool, typer.Option("--confidence", help="Ask how sure the model is, from 0 to 1.")
    ] = False,
    answer: AnswerColumn = None,
) -> None:
    """Put every row under one of your labels; answers are checked against them.

    \b
        bulkrate classify reviews.csv -c text --labels good,bad,neutral -m gpt-4o-mini -o out.csv
    """
    from bulkrate.cli.follow_job import run_job
    from bulkrate.cli.job_spec import text_of
    from bulkrate.toolkit.questions.asking import Asking

    asking = Asking(
        recipe="classify",
        column=column,
        prompt=text_of(prompt),
        system=text_of(system),
        labels=tuple(label.strip() for label in (labels or "").split(",") if label.strip()),
        other=other,
        confidence=confidence,
        answer=answer,
    )
    run_job(asking, file, options)


@takes_job_options
def embed(
    file: File = None,
    *,
    options: JobOptions,
    column: TextColumn = None,
    prompt: PromptText = None,
    dimensions: Annotated[
        int | None, typer.Option("--dimensions", min=1, help="Numbers per vector, where the model can.")
    ] = None,
    dtype: Annotated[
        str, typer.Option("--dtype", metavar="float32|float16|int8", help="How numbers are kept.")
    ] = "float32",
    normalise: Annotated[bool, typer.Option("--normalise", help="Scale vectors to length 1.")] = False,
    texts_per_request: Annotated[
        int | None, typer.Option("--texts-per-request", min=1, help="Texts that share a request.")
    ] = None,
    answer: AnswerColumn = None,
) -> None:
    """Make a vector of every row's text; into Parquet, or straight into a vector store.

    \b
        bulkrate embed docs.parquet --column text -m text-embedding-3-small -o vectors.parquet
        bulkrate embed docs.csv --column text --id doc_id -o lancedb://./index#docs
    """
    from bulkrate.cli.follow_job import run_job
    from bulkrate.cli.job_spec import text_of, vector_type
    from bulkrate.toolkit.questions.asking import Asking

    asking = Asking(
        recipe="embed",
        column=column,
        prompt=text_of(prompt),
        dimensions=dimensions,
        dtype=vector_type(dtype),
        normalise=normalise,
        texts_per_request=texts_per_request,
        answer=answer,
    )
    run_job(asking, file, options)


@takes_job_options
def extract(
    file: File = None,
    *,
    options: JobOptions,
    schema: Annotated[
        str | None,
        typer.Option("--schema", metavar="FILE|MODULE:MODEL", help="A JSON schema, or a Pydantic model."),
    ] = None,
    column: TextColumn = None,
    prompt: PromptText = None,
    system: SystemText = None,
    answer: AnswerColumn = None,
) -> None:
    """Take fields out of every row's text; answers are checked, and asked for again with what was wrong.

    \b
        bulkrate extract mails.csv --column body --schema order.json -m gpt-4o-mini -o orders.parquet
    """
    from bulkrate.cli.follow_job import run_job
    from bulkrate.cli.job_spec import schema_of, text_of
    from bulkrate.toolkit.questions.asking import Asking

    asking = Asking(
        recipe="extract",
        column=column,
        prompt=text_of(prompt),
        system=text_of(system),
        schema=schema_of(schema),
        answer=answer,
    )
    run_job(asking, file, options)


@takes_job_options
def summarize(
    file: File = None,
    *,
    options: JobOptions,
    column: TextColumn = None,
    words: Annotated[int | None, typer.Option("--words", min=1, help="At most so many words.")] = None,
    prompt: PromptText = None,
    system: SystemText = None,
    answer: AnswerColumn = None,
) -> None:
    """Say in a few words what every row's text says.

    \b
        bulkrate summarize articles.jsonl --column body --words 50 -o summaries.jsonl
    """
    from bulkrate.cli.follow_job import run_job
    from bulkrate.cli.job_spec import text_of
    from bulkrate.toolkit.questions.asking import Asking

    asking = Asking(
        recipe="summarize",
        column=column,
        words=words,
        prompt=text_of(prompt),
        system=text_of(system),
        answer=answer,
    )
    run_job(asking, file, options)


@takes_job_options
def translate(
    file: File = None,
    *,
    options: JobOptions,
    to: Annotated[str | None, typer.Option("--to", metavar="LANGUAGE", help="Into which language.")] = None,
    column: TextColumn = None,
    prompt: PromptText = None,
    system: SystemText = None,
    answer: AnswerColumn = None,
) -> None:
    """Say every row's text in another language.

    \b
        bulkrate translate products.csv --column description --to German -o products.de.csv
    """
    from bulkrate.cli.follow_job import run_job
    from bulkrate.cli.job_spec import text_of
    from bulkrate.toolkit.questions.asking import Asking

    asking = Asking(
        recipe="translate",
        column=column,
        language=to,
        prompt=text_of(prompt),
        system=text_of(system),
        answer=answer,
    )
    run_job(asking, file, options)


@takes_job_options
def report(
    file: File = None,
    *,
    options: JobOptions,
    group_by: Annotated[
        list[str] | None,
        typer.Option(
            "--group-by", metavar="COLUMN", help="Rows with equal values make one report; may be repeated."
        ),
    ] = None,
    template: Annotated[
        Path | None,
        typer.Option(
            "--template", metavar="FILE", help="The document, with {{ group }}, {{ rows }}, {{ answer }}."
        ),
    ] = None,
    prompt: PromptText = None,
    system: SystemText = None,
) -> None:
    """Write one document for every group of rows, into a folder or a table.

    \b
        bulkrate report reviews.csv --group-by company --template report.md.j2 -o reports/
    """
    from bulkrate.cli.follow_job import run_job
    from bulkrate.cli.job_spec import text_of
    from bulkrate.toolkit.questions.asking import Asking

    asking = Asking(
        recipe="report",
        group_by=tuple(group_by or ()),
        template=text_of(f"@{template}") if template else None,
        prompt=text_of(prompt),
        system=text_of(system),
    )
    run_job(asking, file, options)

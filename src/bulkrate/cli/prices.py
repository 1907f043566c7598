"""`bulkrate prices`: what models cost, and a newer list of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from bulkrate.core.money.price import Price
    from bulkrate.core.money.pricelist import Head
    from bulkrate.toolkit.prices.pricing import PriceBook

app = typer.Typer(help="See what models cost, and refresh the list of prices.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.", show_default="on unless to a terminal")]
Config = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Configuration file with prices of your own.",
        show_default="bulkrate.toml, if there is one",
    ),
]
#: Named in the report of an update; the rest is counted.
_NAMED_MAX = 10


@app.command(name="list")
def list_prices(
    pattern: Annotated[
        str,
        typer.Argument(metavar="[PATTERN]", help="Part of a name, or a shell pattern.", show_default="all"),
    ] = "",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List the models whose price is known, in dollars per million tokens.

    \b
        bulkrate prices list gpt-5
        bulkrate prices list 'azure/*'
    """
    from fnmatch import fnmatchcase

    book = _book(config)
    wanted = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    found = [book.price(name) for name in book.names() if fnmatchcase(name, wanted)]
    if not found:
        raise typer.BadParameter(f"no model of {_of(book.prices.head)} matches {pattern!r}")
    if _wants_json(as_json):
        _print_json({**_head(book.prices.head), "models": [_told(price) for price in found]})
        return
    rows: list[tuple[str, ...]] = [("model", "input", "output", "batch input", "batch output", "batch is")]
    for price in found:
        standard, batch = price.band("standard").rates, price.band("batch")
        amounts = (standard.input, standard.output, batch.rates.input, batch.rates.output)
        rows.append((price.model, *(_dollars(pico) for pico in amounts), str(batch.mark)))
    _print_table(rows)
    _say(f"Dollars per million tokens, of {_of(book.prices.head)}.")


@app.command()
def show(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A name, or provider/model.")],
    upstream: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Where it is asked; its provider's price counts."),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show all that is known of a model's price: tiers, long requests, and how sure each figure is."""
    book = _book(config)
    price = book.price(model, upstream)
    if not price.tiers:
        near = f"; names like it: {', '.join(price.nearest)}" if price.nearest else ""
        raise typer.BadParameter(f"{_of(book.prices.head)} has no price for {model!r}{near}")
    if _wants_json(as_json):
        _print_json({**_head(book.prices.head), **_told(price)})
        return
    typer.echo(
        f"{price.key or price.model} ({price.mode or 'model'} of {price.provider or 'an upstream of yours'})"
    )
    if price.context or price.output_max:
        typer.echo(f"  takes {price.context or 0:,} tokens, gives at most {price.output_max or 0:,}")
    rows: list[tuple[str, ...]] = [("tier", "input", "cached", "output", "mark", "source")]
    for tier, bands in price.tiers.items():
        for band in bands:
            name = f"{tier}, over {band.above:,}" if band.above else tier
            amounts = (band.rates.input, band.rates.cached, band.rates.output)
            rows.append((name, *(_dollars(pico) for pico in amounts), str(band.mark), band.source))
    _print_table(rows)
    _say("Dollars per million tokens.")


@app.command()
def update(
    origin: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FILE|URL",
            help="litellm's file of models, its wheel, or an address of the file.",
            show_default="where litellm publishes it",
        ),
    ] = None,
    to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write.", show_default="the user's cache")
    ] = None,
    as_json: Json = False,
) -> None:
    """Fetch the newest prices and keep them in the user's cache, where they count from then on.

    Says what changed. A list that cannot be true (most models gone, prices ten times what they were) is
    refused, and the old one stays.
    """
    import msgspec

    from bulkrate.toolkit.prices import pricing

    new, changes, path = pricing.update(origin, to)
    if _wants_json(as_json):
        _print_json({**_head(new.head), "path": str(path), **msgspec.to_builtins(changes)})
        return
    typer.echo(f"{path}: prices of {len(new.models):,} models, {_of(new.head)}")
    for what, names in (("new", changes.added), ("gone", changes.gone), ("other price", changes.changed)):
        more = f" and {len(names) - _NAMED_MAX:,} more" if len(names) > _NAMED_MAX else ""
        if names:
            typer.echo(f"  {what:<12} {len(names):,}: {', '.join(names[:_NAMED_MAX])}{more}")
    if not (changes.added or changes.gone or changes.changed):
        typer.echo("  nothing changed")


def _book(file: Path | None) -> PriceBook:
    """The prices in force: the newest list, and what the configuration says of them."""
    import os

    from bulkrate import config
    from bulkrate.toolkit.prices.pricing import PriceBook

    return PriceBook.load(overrides=config.load(file=file, environ=os.environ, flags={}).prices)


def _wants_json(as_json: bool) -> bool:
    return as_json or not sys.stdout.isatty()


def _of(head: Head) -> str:
    return f"{head.source}, {head.date}"


def _head(head: Head) -> dict[str, Any]:
    return {"source": head.source, "date": head.date, "unit": "USD per million tokens"}


def _told(price: Price) -> dict[str, Any]:
    """A price for programs: dollars per million tokens as strings, since floats lose them."""
    return {
        "model": price.model,
        "listed_as": price.key,
        "provider": price.provider,
        "mode": price.mode,
        "context_tokens": price.context,
        "output_tokens_max": price.output_max,
        "prices": [
            {
                "tier": tier,
                "above_input_tokens": band.above,
                "input": _amount(band.rates.input),
                "cached_input": _amount(band.rates.cached),
                "output": _amount(band.rates.output),
                "mark": str(band.mark),
                "source": band.source,
            }
            for tier, bands in price.tiers.items()
            for band in bands
        ],
    }


def _amount(pico: int | None) -> str | None:
    from bulkrate.core.money.price import per_million

    return None if pico is None else str(per_million(pico))


def _dollars(pico: int | None) -> str:
    amount = _amount(pico)
    return "-" if amount is None else amount


def _print_json(told: Any) -> None:
    import msgspec

    typer.echo(msgspec.json.encode(told).decode())


def _print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(map(str.ljust, row, widths)).rstrip())


def _say(words: str) -> None:
    typer.echo(words, err=True)

"""All commands by name, each loaded when it is asked for.

To build the options of all of them takes longer than everything else that `bulkrate --help` does. So the
sentence that the list shows of each stands here, beside its place; the tests hold it to the command's own.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup


class Listed(NamedTuple):
    """A command that need not be loaded to be listed: its place as `module:name`, and its first sentence."""

    place: str
    help: str
    hidden: bool = False


COMMANDS = {
    "serve": Listed("serve:serve", "Serve the Batch API in front of your inference servers."),
    "host": Listed(
        "host:host",
        "Run the engine of FOLDER while anyone is attached to it; told what to do on standard input.",
        hidden=True,
    ),
    "sandbox": Listed("sandbox:sandbox", "Serve an upstream without a model, to rehearse with."),
    "validate": Listed("validate:validate", "Find every fault of an input file, as the server would."),
    "top": Listed("top:top", "Show what a server's upstreams and batches are doing, live."),
    "run": Listed("run:run", "Ask one question of every row, and get the table back with answers."),
    "classify": Listed(
        "recipes:classify", "Put every row under one of your labels; answers are checked against them."
    ),
    "embed": Listed(
        "recipes:embed", "Make a vector of every row's text; into Parquet, or straight into a vector store."
    ),
    "extract": Listed(
        "recipes:extract",
        "Take fields out of every row's text; answers are checked, and asked for again with what was wrong.",
    ),
    "summarize": Listed("recipes:summarize", "Say in a few words what every row's text says."),
    "translate": Listed("recipes:translate", "Say every row's text in another language."),
    "report": Listed(
        "recipes:report", "Write one document for every group of rows, into a folder or a table."
    ),
    "status": Listed(
        "jobs:status",
        "Tell how a job is, and exit with its code: 0 done, 6 rows failed, 7 it is not done yet.",
    ),
    "watch": Listed("jobs:watch", "Follow a job that another process moves on, until it ends."),
    "resume": Listed("jobs:resume", "Go on with a job that was stopped, by Ctrl-C, a crash or a reboot."),
    "results": Listed(
        "jobs:results", "Write the rows of a job with the answers there are, also while it runs."
    ),
    "retry": Listed(
        "jobs:retry",
        "Send the rows of an ended job again that have no answer, and only those; "
        "then write the result anew.",
    ),
    "cancel": Listed("jobs:cancel", "Stop a job for good."),
    "export": Listed(
        "jobs:export", "Write the requests that a job would send now, in OpenAI's batch format."
    ),
    "prune": Listed("jobs:prune", "Delete ended jobs with their rows and answers."),
    "jobs": Listed("jobs:jobs_app", "List jobs, and compare the runs of one."),
    "keys": Listed("keys:app", "Make, list and revoke API keys."),
    "prices": Listed("prices:app", "See what models cost, and refresh the list of prices."),
}


class Commands(TyperGroup):
    """The group of all commands."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _Loaded()

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List them as a group does that has them all."""
        listed = {
            name: TyperCommand(name, help=one.help, hidden=one.hidden) for name, one in COMMANDS.items()
        }
        TyperGroup(commands=dict(listed)).format_commands(ctx, formatter)


class _Loaded(MutableMapping[str, Any]):
    """The commands, each loaded the first time it is looked at."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = _load(name, COMMANDS[name])
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)

    def __setitem__(self, name: str, command: Any) -> None:
        raise TypeError("a command is added to COMMANDS")

    def __delitem__(self, name: str) -> None:
        raise TypeError("a command is taken out of COMMANDS")


def _load(name: str, listed: Listed) -> Any:
    module, _, attribute = listed.place.partition(":")
    found = getattr(import_module(f"bulkrate.cli.{module}"), attribute)
    # Typer builds a whole app at a time, so each command gets one of its own.
    app = typer.Typer(rich_markup_mode=None)
    if isinstance(found, typer.Typer):
        app.add_typer(found, name=name)
    else:
        app.command(name, hidden=listed.hidden)(found)
    return typer.main.get_group(app).commands[name]

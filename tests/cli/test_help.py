"""Help that can be read, and usage errors of one line and exit code 2."""

from __future__ import annotations

import pytest
import typer

from bulkrate import __version__
from bulkrate.cli import app

COMMANDS = (
    (),
    ("serve",),
    ("sandbox",),
    ("validate",),
    ("top",),
    ("keys",),
    ("keys", "create"),
    ("keys", "list"),
    ("keys", "revoke"),
    ("prices",),
    ("prices", "list"),
    ("prices", "show"),
    ("prices", "update"),
    ("run",),
    ("classify",),
    ("embed",),
    ("extract",),
    ("summarize",),
    ("translate",),
    ("report",),
    ("jobs",),
    ("jobs", "history"),
    ("status",),
    ("watch",),
    ("resume",),
    ("results",),
    ("retry",),
    ("cancel",),
    ("export",),
    ("prune",),
)


def test_these_are_all_commands():
    tree = typer.main.get_command(app)
    found = {()}
    for name, command in tree.commands.items():
        if command.hidden:
            continue
        found |= {(name,), *((name, inner) for inner in getattr(command, "commands", {}))}
    assert found == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_begins_with_a_sentence_and_is_as_wide_as_the_terminal(typed, command):
    ran = typed(*command, "--help")
    assert (ran.exit_code, ran.stderr) == (0, "")
    usage, _, rest = ran.stdout.partition("\n\n")
    assert usage.startswith("Usage: ")
    assert " ".join(command) in usage
    assert rest.strip().split("\n\n")[0].rstrip().endswith(".")
    assert max(map(len, ran.stdout.splitlines())) <= 100


def parameters(command=None, path=()):
    """Every option and argument of every command."""
    command = command or typer.main.get_command(app)
    for param in command.params:
        if param.name != "help":
            yield (*path, param.name), param
    for name, inner in getattr(command, "commands", {}).items():
        if inner.hidden:
            continue
        yield from parameters(inner, (*path, name))


@pytest.mark.parametrize(
    "param", [param for _, param in parameters()], ids=[" ".join(path) for path, _ in parameters()]
)
def test_every_option_says_what_it_is_for(param):
    assert param.help.endswith(".")


def test_the_version_is_told(typed):
    ran = typed("--version")
    assert (ran.exit_code, ran.stdout) == (0, f"bulkrate {__version__}\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nonsense",), "nonsense"),
        (("serve", "--nonsense"), "--nonsense"),
        (("serve", "--port", "many"), "--port"),
        (("serve", "--host"), "--host"),
        (("serve", "extra"), "extra"),
        (("sandbox", "--seed", "x"), "--seed"),
        (("validate",), "FILE.jsonl"),
        (("keys", "revoke"), "KEY"),
        (("keys", "nonsense"), "nonsense"),
    ],
)
def test_a_word_that_is_not_understood_is_named(typed, words, told):
    ran = typed(*words)
    assert ran.exit_code == 2
    assert ran.stdout == ""
    assert told in ran.stderr
    assert "Traceback" not in ran.stderr

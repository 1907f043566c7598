"""Help that can be read, and usage errors of one line and exit code 2."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer
from typer.core import TyperCommand, TyperGroup

from bulkrate import __version__
from bulkrate.cli.app import app
from bulkrate.cli.commands import COMMANDS as LISTED

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


@pytest.mark.parametrize("name", LISTED)
def test_a_command_is_listed_as_it_is_though_it_was_not_loaded(name):
    command = typer.main.get_command(app).commands[name]
    listed = TyperCommand(name, help=LISTED[name].help)
    assert (command.name, command.hidden) == (name, LISTED[name].hidden)
    for width in (20, 45, 60, 110):
        assert listed.get_short_help_str(width) == command.get_short_help_str(width)


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_list_is_that_of_a_group_which_has_loaded_all_commands(typed, monkeypatch, width):
    tree = typer.main.get_command(app)
    loaded = TyperGroup(
        commands=dict(tree.commands), params=tree.params, help=tree.help, rich_markup_mode=None
    )
    monkeypatch.setenv("COLUMNS", str(width))
    with typer.Context(loaded, info_name="bulkrate") as context:
        assert typed("--help").stdout == loaded.get_help(context) + "\n"


def test_help_loads_no_command():
    code = "import sys; from bulkrate.cli.app import app; app(['--help'], standalone_mode=False)"
    code += "; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name for name in ran.stdout.splitlines()[-1].split() if name.startswith("bulkrate")}
    assert loaded == {
        f"bulkrate{rest}" for rest in ("", ".cli", ".cli.app", ".cli.commands", ".errors", ".wording")
    }


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

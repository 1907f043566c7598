"""Errors name flags to whoever typed a command, and arguments to whoever called a function."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

import bulkrate
from bulkrate.cli.app import app
from bulkrate.errors import SinkError, SourceError
from bulkrate.toolkit.api import Options
from bulkrate.toolkit.sinks import open_sink
from bulkrate.toolkit.sources import open_source
from bulkrate.wording import called, either, typed

SOURCE = Path(bulkrate.__file__).parent
#: What only a command gets to.
OF_COMMANDS = {SOURCE / "toolkit" / "prices" / "pricing.py": {"--from"}}
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
COMMAND = re.compile(r"bulkrate (?:run|status|watch|resume|retry|cancel|results|export)\b")

texts = st.text(st.characters(blacklist_categories=["Cs", "Cn"]))


@given(texts, texts, texts, texts)
def test_a_message_reads_as_if_it_had_been_written_for_its_reader(before, flag, argument, after):
    message = f"{before}{either(flag, argument)}{after}{either(flag, argument)}"
    assert typed(message) == f"{before}{flag}{after}{flag}"
    assert called(message) == f"{before}{argument}{after}{argument}"


@given(texts)
def test_a_message_for_everybody_stays_as_it_is(message):
    assert typed(message) == called(message) == message


def test_an_error_speaks_python_until_the_command_line_asks_for_its_words():
    error = SinkError(f"write over it with {either('--overwrite', 'overwrite=True')}")
    assert str(error) == "write over it with overwrite=True"
    assert repr(error) == "SinkError('write over it with overwrite=True')"
    assert typed(error.wording) == "write over it with --overwrite"
    assert typed(str(SinkError(f"again: {error.wording}"))) == "again: write over it with overwrite=True"


def messages() -> Iterator[tuple[Path, str, list[str] | None]]:
    """Every text of the toolkit beside its docstrings; with both words for what is told as `either`."""
    for path in [*(SOURCE / "config").rglob("*.py"), *(SOURCE / "toolkit").rglob("*.py")]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        both: set[int] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "either":
                both |= {id(part) for argument in node.args for part in ast.walk(argument)}
                if all(isinstance(argument, ast.Constant) for argument in node.args):
                    yield path, "", [argument.value for argument in node.args]
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs | both:
                yield path, node.value, None


def test_no_message_speaks_to_the_command_line_alone():
    for path, text, _ in messages():
        assert set(FLAG.findall(text)) <= OF_COMMANDS.get(path, set()), (path, text)
        assert not COMMAND.search(text), (path, text)


def test_every_flag_and_every_argument_that_is_named_is_there():
    tree = typer.main.get_command(app)
    flags = {flag for command in tree.commands.values() for param in command.params for flag in param.opts}
    functions = [getattr(bulkrate, name) for name in ("map", "classify", "extract", "report", "submit")]
    arguments = {name for function in functions for name in inspect.signature(function).parameters}
    arguments |= {field.name for field in msgspec.structs.fields(Options)}
    named = [both for _, _, both in messages() if both]
    assert len(named) >= 8
    for flag, argument in named:
        assert set(FLAG.findall(flag)) <= flags
        assert set(re.findall(r"[a-z_]+", argument.replace(" and ", " ").partition("=")[0])) <= arguments


def test_who_typed_the_name_of_a_file_without_a_format_is_told_the_flag_for_it(tmp_path):
    (tmp_path / "rows.dat").write_text("text\nx\n", encoding="utf-8")
    with pytest.raises(SourceError) as unread:
        open_source(tmp_path / "rows.dat")
    with pytest.raises(SinkError) as unwritten:
        open_sink(tmp_path / "out.dat")
    assert typed(unread.value.wording).endswith("or say it with --format")
    assert typed(unwritten.value.wording).endswith("or say it with --to-format")
    assert "--" not in f"{unread.value} {unwritten.value}"

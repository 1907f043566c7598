"""Every event that is reported has a name on the list, and every name on the list is reported."""

from __future__ import annotations

import ast
import logging
from pathlib import Path

import pytest

import bulkrate
from bulkrate.telemetry import EVENTS, log_event, logger

SOURCES = sorted(Path(bulkrate.__file__).parent.rglob("*.py"))


def reported(path: Path) -> list[tuple[str, ast.expr]]:
    """The event of every `log_event(level, event, …)` and `logger.exception("event …")`, and where it is."""
    found = []
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(call, ast.Call):
            place = f"{path.name}:{call.lineno}"
            name = ast.unparse(call.func)
            if name == "log_event":
                found.append((place, call.args[1]))
            elif name == "logger.exception":
                found.append((place, call.args[0]))
    return found


def words(event: ast.expr) -> set[str]:
    """The events that an expression may be: one word, or a choice between words."""
    if isinstance(event, ast.IfExp):
        return words(event.body) | words(event.orelse)
    return {str(event.value).split()[0]} if isinstance(event, ast.Constant) else set()


ALL = [event for path in SOURCES for event in reported(path)]


def test_every_event_is_on_the_list():
    assert ALL
    for place, event in ALL:
        assert words(event), f"{place}: the event is not a word"
        assert words(event) <= set(EVENTS), place


def test_every_event_of_the_list_is_reported_somewhere():
    assert set(EVENTS) - {word for _, event in ALL for word in words(event)} == set()


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (8080, "8080"),
        ("127.0.0.1", "127.0.0.1"),
        ("ünï", "ünï"),
        ("two words", '"two words"'),
        ('say "hi"', r'"say \"hi\""'),
        ("a=b", '"a=b"'),
        ("", '""'),
        # An upstream's words once began a line of their own.
        ("two\nlines", r'"two\nlines"'),
        ("\x1b[31m", r'"\u001b[31m"'),
        ("one\u2028two", r'"one\u2028two"'),
    ],
)
def test_an_event_is_one_line_of_keys_and_values(caplog, monkeypatch, value, written):
    monkeypatch.setattr(logger, "propagate", True)
    with caplog.at_level(logging.INFO, "bulkrate"):
        log_event(logging.INFO, "server_ready", key=value, other=1)
    assert caplog.messages == [f"server_ready key={written} other=1"]

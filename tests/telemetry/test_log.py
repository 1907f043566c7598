"""Every event that is reported has a name on the list, and every name on the list is reported."""

from __future__ import annotations

import ast
import json
import logging
import sys
from pathlib import Path

import pytest

import bulkrate
from bulkrate.errors import StoreError
from bulkrate.telemetry import EVENTS, log_event, log_to_stderr, logger

SOURCES = sorted(Path(bulkrate.__file__).parent.rglob("*.py"))


def reported(path: Path) -> list[tuple[str, ast.expr]]:
    """The event of every `log_event(level, event, …)`, and where it is."""
    found = []
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(call, ast.Call):
            place = f"{path.name}:{call.lineno}"
            if ast.unparse(call.func) == "log_event":
                found.append((place, call.args[1]))
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
    reported = {word for _, event in ALL for word in words(event)}
    assert set(EVENTS) - reported == {"library"}  # which the format itself makes of what is not ours


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


@pytest.fixture
def said(capsys, monkeypatch):
    """The lines that this process wrote to its log, in the format asked for."""
    for name in ("handlers", "propagate", "level"):
        monkeypatch.setattr(logger, name, getattr(logger, name))
    monkeypatch.setattr(logging.root, "handlers", logging.root.handlers)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)

    def lines(form):
        log_to_stderr("server", form)

        def read():
            return capsys.readouterr().err.splitlines()

        return read

    return lines


def failed_over(text):
    """An error as a library raises it, with what it stumbled over in its words."""
    try:
        try:
            raise ValueError(f"cannot read {text!r}")
        except ValueError as cause:
            raise StoreError("the store failed") from cause
    except StoreError as error:
        return error


def test_in_json_an_event_is_one_object_a_line(said):
    read = said("json")
    log_event(
        logging.WARNING, "upstream_out", upstream="a b", reason='no "way"\nin', tries=3, key=None, level=1
    )
    (line,) = read()
    event = json.loads(line)
    assert event.pop("time").endswith("+00:00")
    assert event == {
        "level": "warning",
        "process": "server",
        "event": "upstream_out",
        "upstream": "a b",
        "reason": 'no "way"\nin',
        "tries": 3,
        "key": None,
        "level_": 1,
    }


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_unforeseen_error_tells_its_kind_and_place_and_not_what_it_quotes(said, form):
    read = said(form)
    log_event(logging.ERROR, "clerk_tripped", what="admit", error=failed_over("my secret prompt"))
    (line,) = read()
    assert "StoreError: the store failed from ValueError" in line
    assert "failed_over" in line
    assert "secret" not in line


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_library_may_warn_but_not_quote(said, form):
    read = said(form)
    log = logging.getLogger("some.library")
    log.info("not said at all")
    log.warning("could not send %s", "my secret prompt")
    log.error("it broke\nfuture: ValueError('my secret prompt')", exc_info=failed_over("my secret prompt"))
    first, second = read()
    assert "library" in first
    assert "some.library" in first
    assert "could not send" in first
    assert "it broke" in second
    assert "secret" not in first + second


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_ends_a_process_is_an_event_too(said, form):
    read = said(form)
    error = failed_over("my secret prompt")
    sys.excepthook(type(error), ExceptionGroup("several", [error]), None)
    (line,) = read()
    assert "process_failed" in line
    assert "ExceptionGroup from StoreError: the store failed from ValueError" in line
    assert "secret" not in line


@pytest.mark.parametrize("form", ["text", "json"])
def test_credentials_in_an_address_are_left_out(said, form):
    read = said(form)
    log_event(logging.WARNING, "upstream_out", reason="no connection to http://me:sk-123@gpu/v1")
    (line,) = read()
    assert "http://gpu/v1" in line
    assert "sk-123" not in line

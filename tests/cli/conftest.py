"""The whole command, as one types it, in an empty folder."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from bulkrate.cli import main
from bulkrate.telemetry import logger


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    exit_code: int
    stdout: str
    stderr: str


Type = Callable[..., Ran]


@pytest.fixture
def typed(tmp_path, monkeypatch, capsys) -> Type:
    """Run `bulkrate` with these words; nothing of our own environment gets through."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("BULKRATE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("handlers", "propagate"):
        monkeypatch.setattr(logger, name, getattr(logger, name))
    monkeypatch.setattr(logging.root, "handlers", logging.root.handlers)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)

    def run(*words: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["bulkrate", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return Ran(int(ended.value.code or 0), out, err)

    return run

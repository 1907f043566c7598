"""A wall clock that a test can move, for processes that it starts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

HOUR_S = 3_600


class Clock:
    """The wall clock of every process started with `env`. It stands right until it is moved."""

    def __init__(self, folder: Path) -> None:
        self._moved_by = folder / "moved_by"
        self.move(0)

    @property
    def env(self) -> Mapping[str, str]:
        """The environment that hands this clock to a process and its children."""
        here = str(Path(__file__).parent)
        path = os.pathsep.join(part for part in (here, os.environ.get("PYTHONPATH")) if part)
        return {"PYTHONPATH": path, "CLOCK_MOVED_BY": str(self._moved_by)}

    def move(self, seconds: float) -> None:
        """Be so far off the real clock from now on."""
        fresh = self._moved_by.with_suffix(".new")
        fresh.write_text(str(seconds), encoding="ascii")
        fresh.replace(self._moved_by)

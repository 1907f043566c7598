"""Names of hosts that a test can take away and give back, for processes that it starts."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path


class Names:
    """What every process started with `env` finds when it looks up these names; others it finds as ever.

    Only plain HTTP asks through Python. What TLS is spoken with has a resolver of its own.
    """

    def __init__(self, folder: Path) -> None:
        self._book = folder / "names.json"
        self._addresses: dict[str, str | None] = {}
        self._write()

    @property
    def env(self) -> Mapping[str, str]:
        """The environment that hands this book of names to a process and its children."""
        here = str(Path(__file__).parent)
        path = os.pathsep.join(part for part in (here, os.environ.get("PYTHONPATH")) if part)
        return {"PYTHONPATH": path, "NAMES_IN": str(self._book)}

    def give(self, name: str, address: str) -> None:
        """From now on a name has this address."""
        self._addresses[name] = address
        self._write()

    def take(self, name: str) -> None:
        """From now on a name has no address."""
        self._addresses[name] = None
        self._write()

    def _write(self) -> None:
        fresh = self._book.with_suffix(".new")
        fresh.write_text(json.dumps(self._addresses), encoding="utf-8")
        fresh.replace(self._book)

"""What every part of the engine is handed: settings, records, bytes, clock, bells and board."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from bulkrate.blobs import Blobs, LocalBlobs
from bulkrate.config import Settings
from bulkrate.engine.bell import Bells
from bulkrate.engine.board import Board
from bulkrate.errors import ConfigError
from bulkrate.store import Store

P = ParamSpec("P")
R = TypeVar("R")

#: The processes beside the one that serves HTTP.
ROLES = ("clerk", "sender")


@dataclass(frozen=True, kw_only=True)
class Context:
    """The engine's hands. `clock` gives Unix seconds; tests pass their own."""

    settings: Settings
    store: Store
    blobs: Blobs
    bells: Bells
    board: Board
    clock: Callable[[], float] = time.time

    def now(self) -> int:
        """The time in whole Unix seconds, as the API shows it."""
        return int(self.clock())

    async def ask(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the store or the blobs without holding up the event loop."""
        return await asyncio.to_thread(function, *args, **kwargs)


def data_folder(settings: Settings) -> Path:
    """The data folder, made at its first use. Raises `ConfigError`."""
    data = Path(settings.data)
    try:
        # Prompts, answers and signing secrets lie here: nobody else's business.
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as cause:
        raise ConfigError(
            f"the data folder {data} cannot be made: {cause.strerror}; name another with --data"
        ) from cause
    if not os.access(data, os.W_OK | os.X_OK):
        raise ConfigError(f"the data folder {data} cannot be written to; name another with --data")
    return data


def open_context(settings: Settings, *, bells: Bells | None = None, board: Board | None = None) -> Context:
    """Open the data folder that `settings.data` names, creating it at first use. Raises `ConfigError`."""
    data = data_folder(settings)
    return Context(
        settings=settings,
        store=Store(data / "bulkrate.db"),
        blobs=LocalBlobs(data / "blobs"),
        bells=bells or Bells(),
        board=board or Board.new(ROLES),
    )


def close_context(context: Context) -> None:
    """Close what `open_context` opened."""
    context.store.close()

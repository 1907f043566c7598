"""What every part of the engine is handed: settings, records, bytes, clock, bells and board."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from bulkrate.blobs import Blobs, LocalBlobs
from bulkrate.config import Settings
from bulkrate.engine.bell import Bells
from bulkrate.engine.board import Board
from bulkrate.engine.folder import data_folder
from bulkrate.engine.roles import roles_of, worker_roles
from bulkrate.store import Store

P = ParamSpec("P")
R = TypeVar("R")


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


def open_context(settings: Settings, *, bells: Bells | None = None, board: Board | None = None) -> Context:
    """Open the data folder that `settings.data` names, creating it at first use. Raises `ConfigError`."""
    data = data_folder(settings)
    return Context(
        settings=settings,
        store=Store(data / "bulkrate.db"),
        blobs=LocalBlobs(data / "blobs"),
        bells=bells or Bells.new(len(worker_roles(settings))),
        board=board or Board.new(roles_of(settings)),
    )


def close_context(context: Context) -> None:
    """Close what `open_context` opened."""
    context.store.close()

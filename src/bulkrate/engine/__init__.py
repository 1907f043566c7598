"""What one can do with a file and a batch, and the loops that move them on.

`Engine` is the door for the server and for anyone who embeds bulkrate; the loops are one verb a file:
`admit`, `send`, `finish`, `sweep`, `notify`. The engine knows no HTTP server and prints nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bulkrate.engine.asks.content import Content
    from bulkrate.engine.asks.files import Incoming
    from bulkrate.engine.engine import Engine

__all__ = ["Content", "Engine", "Incoming"]

_PLACES = {"Content": "asks.content", "Engine": "engine", "Incoming": "asks.files"}


def __getattr__(name: str) -> object:
    """Loaded when it is first asked for: whoever starts the other processes does that before all else."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)

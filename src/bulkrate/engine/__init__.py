"""What one can do with a file and a batch, and the loops that move them on.

`Engine` is the door for the server and for anyone who embeds bulkrate; the loops are one verb a file:
`admit`, `send`, `finish`, `sweep`, `notify`. The engine knows no HTTP server and prints nothing.
"""

from bulkrate.engine.asks.content import Content
from bulkrate.engine.asks.files import Incoming
from bulkrate.engine.engine import Engine

__all__ = ["Content", "Engine", "Incoming"]

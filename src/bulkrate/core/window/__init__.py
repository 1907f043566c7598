"""How many attempts may be in flight at one upstream, and how that number is found."""

from bulkrate.core.window.mode import Mode
from bulkrate.core.window.window import Window

__all__ = ["Mode", "Window"]

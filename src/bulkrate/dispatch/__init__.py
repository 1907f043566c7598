"""Lines in, outcomes out.

The HTTP client, one driver per upstream, and the dispatcher that hands lines to whoever is free. Knows
nothing of records or blobs: what a line is and where its outcome goes is behind `Load`.
"""

from bulkrate.dispatch.base import Load, Work
from bulkrate.dispatch.dispatcher import Dispatcher
from bulkrate.dispatch.driver import Driver
from bulkrate.dispatch.lane import Lane

__all__ = ["Dispatcher", "Driver", "Lane", "Load", "Work"]

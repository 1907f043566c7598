"""Where rows go to: one file per kind, and `open_sink`, which finds the kind."""

from bulkrate.toolkit.sinks.base import Sink
from bulkrate.toolkit.sinks.opening import FORMATS, SCHEMES, exists, is_table, open_sink

__all__ = ["FORMATS", "SCHEMES", "Sink", "exists", "is_table", "open_sink"]

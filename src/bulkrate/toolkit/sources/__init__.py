"""Where rows come from: one file per kind, and `open_source`, which finds the kind."""

from bulkrate.toolkit.sources.base import Source
from bulkrate.toolkit.sources.opening import FORMATS, open_source

__all__ = ["FORMATS", "Source", "open_source"]

"""bulkrate: the Batch API you run yourself."""

__version__ = "0.1.0"

"""bulkrate: the Batch API you run yourself, and rows to answers in one call.

import bulkrate

job = bulkrate.classify("reviews.csv", column="text", labels=["good", "bad"], model="gpt-4o-mini")
frame = job.to_polars()
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bulkrate.errors import BulkrateError
    from bulkrate.toolkit.api import batch, classify, embed, extract, report, submit, summarize, translate
    from bulkrate.toolkit.api import map as map  # noqa: A004  # the name that everybody looks for
    from bulkrate.toolkit.job import Job, Results, RowResult

__version__ = "0.1.0"

__all__ = [
    "BulkrateError",
    "Job",
    "Results",
    "RowResult",
    "batch",
    "classify",
    "embed",
    "extract",
    "map",
    "report",
    "submit",
    "summarize",
    "translate",
]

_PLACES = {"BulkrateError": "errors"} | dict.fromkeys(("Job", "Results", "RowResult"), "toolkit.job")


def __getattr__(name: str) -> object:
    """Loaded when it is first asked for: a server that starts does not need the toolkit."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES.get(name, 'toolkit.api')}"), name)

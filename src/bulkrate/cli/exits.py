"""Exit codes: one for each kind of ending, the same in every command."""

from __future__ import annotations

from bulkrate import errors
from bulkrate.errors import (
    BlobError,
    BulkrateError,
    ConfigError,
    JobError,
    JobTaken,
    OverBudget,
    RecipeError,
    RequestRefused,
    ServerUnreachable,
    SinkError,
    SourceError,
    StoreError,
    TimedOut,
    Unavailable,
)

OK = 0
#: Our own fault.
BUG = 1
#: Flags, files or prompts that do not fit.
USAGE = 2
#: A setting or a key is missing or wrong.
CONFIGURATION = 3
#: The server said no.
REFUSED = 4
#: Nobody answers, or not now.
UNREACHABLE = 5
#: It ended, but not every row has its answer.
ROWS_FAILED = 6
#: It goes on: the time given was over, or another process is at it.
STILL_RUNNING = 7
#: Files of ours, or the place for the results.
LOCAL = 8
#: It would cost more than was allowed.
OVER_BUDGET = 9
INTERRUPTED = 130
TERMINATED = 143

# The first that fits counts: children stand before their parents.
_CODES: tuple[tuple[type[BulkrateError], int], ...] = (
    (OverBudget, OVER_BUDGET),
    (TimedOut, STILL_RUNNING),
    (JobTaken, STILL_RUNNING),
    (ConfigError, CONFIGURATION),
    (ServerUnreachable, UNREACHABLE),
    (Unavailable, UNREACHABLE),
    (RequestRefused, REFUSED),
    (SourceError, USAGE),
    (RecipeError, USAGE),
    (SinkError, LOCAL),
    (JobError, LOCAL),
    (StoreError, LOCAL),
    (BlobError, LOCAL),
)


def code_of(error: BulkrateError) -> int:
    """The exit code for an error of ours."""
    return _code(type(error))


def code_named(kind: str | None) -> int:
    """The same for the name of its class."""
    found = getattr(errors, kind or "", None)
    return _code(found) if isinstance(found, type) else BUG


def _code(kind: type) -> int:
    return next((code for one, code in _CODES if issubclass(kind, one)), BUG)

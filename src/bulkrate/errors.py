"""Everything bulkrate raises, as one tree.

    BulkrateError
    ├── RequestRefused            a caller's request cannot be done; carries OpenAI's error body
    │   ├── InvalidRequest        400
    │   ├── Unauthorized          401
    │   ├── NotFound              404
    │   ├── MethodNotAllowed      405
    │   ├── Conflict              409  (never retried by a client: asking again changes nothing)
    │   ├── TooLarge              413
    │   ├── RangeNotSatisfiable   416
    │   ├── Unprocessable         422
    │   └── Unavailable           503  (worth asking again in a moment)
    │       └── StillRunning      503  (the work goes on; asking again would do it twice)
    ├── ConfigError               a setting is unknown, missing or wrong
    │   └── FolderInUse           another server has the data folder
    ├── SourceError               rows could not be read, or are not what they are said to be
    │   └── PricesUnfit           nor is a list of prices (core/money/pricelist.py)
    ├── SinkError                 rows could not be written
    ├── RecipeError               a prompt, schema or recipe does not fit the rows
    ├── JobError                  a job is not in a state that allows what was asked
    │   ├── JobTaken              another process moves it on
    │   ├── OverBudget            it would cost more than was allowed
    │   └── TimedOut              it was not done in the time given; it goes on
    ├── ServerUnreachable         no Batch API answers where one was looked for
    ├── IllegalTransition         an event that a batch in this status does not take
    ├── StoreError                the records could not be read or written
    │   ├── Fenced                another worker has taken over; what we hold no longer counts
    │   └── StoreFull             the disk of the records is full
    ├── RemoteRefused             a provider of batches did not do what was asked (providers/batch/base.py)
    ├── Untranslatable            a line asks for what a provider's language has no word for (ibid.)
    ├── Garbled                   a provider's result line cannot be read (ibid.)
    └── BlobError                 bytes could not be read or written
        ├── BlobMissing           there are no bytes under this key
        └── NoSpace               the disk is full

Foreign exceptions are translated where they enter and keep their cause. No message carries a prompt or an
answer. What the command line calls otherwise than Python does stands in it as both (`wording.py`).
"""

from __future__ import annotations

from bulkrate.wording import called


class BulkrateError(Exception):
    """The root of the tree. As text it speaks to whoever called a function."""

    @property
    def wording(self) -> str:
        """The message in the words of both readers: to be kept, or to be shown to another."""
        return super().__str__()

    def __str__(self) -> str:
        return called(self.wording)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class RequestRefused(BulkrateError):
    """A caller's request cannot be done.

    `status` is the HTTP status, `code` and `param` are OpenAI's fields of the same name. `retry` says whether
    the same request may succeed later; OpenAI's SDKs retry 409 and 5xx by themselves unless told not to.
    """

    status = 400
    type = "invalid_request_error"
    retry = False

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param


class InvalidRequest(RequestRefused):
    """The request is malformed, or asks for what does not exist."""


class Unauthorized(RequestRefused):
    """There is no key, or not one we know."""

    status = 401


class NotFound(RequestRefused):
    """There is no such thing in the caller's project."""

    status = 404


class MethodNotAllowed(RequestRefused):
    """The address exists, but not for this HTTP method."""

    status = 405


class Conflict(RequestRefused):
    """The thing is in a state that does not allow it."""

    status = 409


class TooLarge(RequestRefused):
    """More bytes than the limit allows."""

    status = 413


class RangeNotSatisfiable(RequestRefused):
    """The range asked for lies outside the content."""

    status = 416


class Unprocessable(RequestRefused):
    """The request contradicts an earlier one."""

    status = 422


class Unavailable(RequestRefused):
    """We cannot serve this now; the same request may succeed in a moment."""

    status = 503
    type = "server_error"
    retry = True


class StillRunning(Unavailable):
    """The caller has waited long enough, but the work goes on; asking again would do it twice."""

    retry = False


class ConfigError(BulkrateError):
    """A setting is unknown, missing or wrong."""


class FolderInUse(ConfigError):
    """Another server has the data folder."""


class SourceError(BulkrateError):
    """Rows could not be read, or are not what they are said to be."""


class SinkError(BulkrateError):
    """Rows could not be written."""


class RecipeError(BulkrateError):
    """A prompt, schema or recipe does not fit the rows."""


class JobError(BulkrateError):
    """A job is not in a state that allows what was asked."""


class JobTaken(JobError):
    """Another process moves the job on right now."""


class OverBudget(JobError):
    """It would cost more than was allowed."""


class TimedOut(JobError):
    """It was not done in the time given; it goes on."""


class ServerUnreachable(BulkrateError):
    """No Batch API answers where one was looked for."""


class IllegalTransition(BulkrateError):
    """A batch in this status does not take this event."""


class StoreError(BulkrateError):
    """The records could not be read or written."""


class Fenced(StoreError):
    """Another worker has taken over; what this one holds no longer counts."""


class StoreFull(StoreError):
    """The disk of the records is full."""


class Contradiction(StoreError):
    """What was to be written contradicts the records: a fault of ours, which trying again does not mend."""


class BlobError(BulkrateError):
    """Bytes could not be read or written."""


class BlobMissing(BlobError):
    """There are no bytes under this key."""


class NoSpace(BlobError):
    """The disk is full."""

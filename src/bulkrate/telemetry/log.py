"""Every log event by name, and the two ways to write one.

One line an event, either `key=value` or an object of JSON. Never a prompt, an answer or a key: what we say is
in our own words, and of foreign errors we tell their kind and where they arose, not what they say, since that
may quote what they stumbled over.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal

import msgspec

from bulkrate.errors import BulkrateError
from bulkrate.telemetry.stderr import Unwaited

logger = logging.getLogger("bulkrate")

LogFormat = Literal["text", "json"]

#: Every event and what it says. A test holds the documentation to this list.
EVENTS = {
    "server_ready": "The server answers requests.",
    "server_stopping": "The server was asked to stop.",
    "request_failed": "An unforeseen error kept the server from answering a request.",
    "process_started": "A clerk or sender was started.",
    "process_not_started": "A clerk or sender could not be started; it is tried again.",
    "process_died": "A clerk or sender ended by itself; it is started again.",
    "process_failed": "An unforeseen error ended a process; `error` and `where` say which.",
    "sender_paused": "The sender cannot write its results; nothing is sent until it can.",
    "sender_resumed": "The sender can write again.",
    "clerk_paused": "The clerk cannot go on with a batch; it tries again.",
    "clerk_resumed": "The clerk goes on.",
    "clerk_tripped": "An unforeseen error keeps the clerk from a batch; it tries again.",
    "worker_fenced": "A worker found that it was declared dead, and ends.",
    "worker_buried": "A worker's lease lapsed; its lines and upstreams are free.",
    "batch_ended": "A batch reached a terminal status.",
    "batch_deadline": "A batch's window closed.",
    "shard_unreadable": "A shard's plan or input is gone.",
    "upstream_taken": "A sender begins to drive an upstream.",
    "upstream_let_go": "A sender has more than its share of the upstreams, and hands one on.",
    "upstream_out": "An upstream cannot be used; lines wait.",
    "upstream_back": "An upstream can be used again.",
    "remote_created": "A remote batch was created at a provider.",
    "remote_found": "A remote batch was found again whose creation had not been answered.",
    "remote_ended": "A remote batch has ended at its provider.",
    "remote_collected": "Everything that a remote batch answered counts.",
    "remote_missing": "A remote batch has no result for some of its lines; the first are named.",
    "remote_unknown_lines": "A remote batch has results for lines that were not in it; they are ignored.",
    "remote_abandoned": "A remote batch was given up; `reason` says why.",
    "delegate_paused": "Groups of lines cannot be handed to providers, or collected, until records and bytes "
    "can be written.",
    "delegate_resumed": "They can again.",
    "delegate_tripped": "An unforeseen error keeps a remote batch from moving; it is tried again.",
    "webhook_abandoned": "A webhook event was given up after 72 hours.",
    "traces_off": "Traces were asked for and cannot be sent; `reason` says why.",
    "log_lost": "So many lines of the log were lost, because nobody read standard error.",
    "library": "A warning of a library, from the `logger` that it names, without what it filled in.",
}

# What a library says is cut to this.
_FOREIGN_CHARS_MAX = 500
# Errors within errors, and the causes of errors, are told so deep.
_ERRORS_DEEP = 8
# `user:password@` in an address is a key.
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")


def log_event(level: int, event: str, /, *, error: BaseException | None = None, **fields: Any) -> None:
    """Report one of `EVENTS`; an unforeseen `error` with its kind and the place it arose."""
    if error is not None:
        fields |= {"error": _kinds(error), "where": _places(error)}
    shown = " ".join(f"{key}={_quoted(value)}" for key, value in fields.items())
    logger.log(level, "%s %s", event, shown, extra={"event": event, "fields": fields})


def log_to_stderr(process: str, form: LogFormat = "text") -> None:
    """Write the log of this process to standard error: our events, and the warnings of libraries."""
    stream = Unwaited(sys.stderr, lambda lines: log_event(logging.WARNING, "log_lost", lines=lines))
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Json(process) if form == "json" else _Text(process))
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    foreign = logging.StreamHandler(stream)
    foreign.setFormatter(handler.formatter)
    foreign.setLevel(logging.WARNING)
    logging.root.handlers = [foreign]
    sys.excepthook = _report_end


class _Text(logging.Formatter):
    """`TIME LEVEL process event key=value`."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        event, fields = _told(record)
        words = [_time_of(record).isoformat(timespec="seconds"), record.levelname, self._process, event]
        return " ".join([*words, *(f"{key}={_quoted(value)}" for key, value in fields.items())])


class _Json(logging.Formatter):
    """An object; the names of its own four keys are not given to fields."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        event, fields = _told(record)
        told = {
            "time": _time_of(record).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "event": event,
        }
        for key, value in fields.items():
            told[key if key not in told else f"{key}_"] = _plain(value)
        return msgspec.json.encode(told).decode()


def _told(record: logging.LogRecord) -> tuple[str, Mapping[str, Any]]:
    """An event of ours as it is; of a library its own constant words, and nothing that it filled in."""
    event = getattr(record, "event", None)
    if isinstance(event, str):
        fields: Mapping[str, Any] = getattr(record, "fields", {})
        return event, fields
    first = str(record.msg).partition("\n")[0][:_FOREIGN_CHARS_MAX]
    told: dict[str, Any] = {"logger": record.name, "reason": first}
    if record.exc_info and record.exc_info[1] is not None:
        told |= {"error": _kinds(record.exc_info[1]), "where": _places(record.exc_info[1])}
    return "library", told


def _report_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    log_event(logging.CRITICAL, "process_failed", error=error)


def _kinds(error: BaseException) -> str:
    """What kinds of error, the outermost first. Only our own say what they have to say."""
    return " from ".join(map(_kind, _chain(error)))


def _kind(error: BaseException) -> str:
    name = type(error).__name__
    if isinstance(error, BulkrateError):
        return f"{name}: {error}"
    # The system's own words for a number; a path would stand beside them, not in them.
    return f"{name}: {os.strerror(error.errno)}" if isinstance(error, OSError) and error.errno else name


def _places(error: BaseException) -> str:
    """Where it arose: the innermost error's frames, the latest last."""
    *_, innermost = _chain(error)
    frames = traceback.extract_tb(innermost.__traceback__)
    return " > ".join(f"{_module(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, the first of those in a group, and causes; bounded."""
    found: BaseException | None = error
    for _ in range(_ERRORS_DEEP):
        if found is None:
            return
        yield found
        inside = found.exceptions[0] if isinstance(found, BaseExceptionGroup) else None
        found = inside or found.__cause__ or (None if found.__suppress_context__ else found.__context__)


def _module(filename: str) -> str:
    """The end of a file's path, enough to find it."""
    return "/".join(filename.replace("\\", "/").split("/")[-2:])


def _time_of(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _plain(value: Any) -> Any:
    """A value as JSON has it; text without credentials of addresses."""
    if value is None or isinstance(value, bool | int | float):
        return value
    return _CREDENTIALS.sub("", str(value))


def _quoted(value: Any) -> str:
    text = _CREDENTIALS.sub("", str(value))
    # In quotes, and with escapes, whatever could end the line or be taken for another key.
    plain = text.isprintable() and text and not any(sign in text for sign in ' "=\\')
    return text if plain else json.dumps(text, ensure_ascii=not text.isprintable())

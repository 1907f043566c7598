"""The lines of one shard, as a worker sends them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bulkrate.blobs import Reader
from bulkrate.core.body import on_one_line
from bulkrate.core.outcome import Answer, Answered, Failed, Outcome, Refused
from bulkrate.core.plan import PLANNED_BYTES, Fate, LineSet, Planned, read_plan
from bulkrate.core.validate import take_apart
from bulkrate.dispatch import Work
from bulkrate.engine.log import BatchLog
from bulkrate.providers.usage import read_usage
from bulkrate.store.records import ClaimedShard
from bulkrate.wire.lines import error_object, failure_line, line_id, response_line

# Plan records read at once; a thousand shards at once hold 12 MB of them.
_PLANS_AT_ONCE = 512
# How much of a foreign error text goes into the error file.
_TEXT_CHARS_MAX = 4_000


class ShardLoad:
    """Takes lines from the plan that have no outcome yet, and puts their outcomes into the batch's log."""

    def __init__(
        self,
        claimed: ClaimedShard,
        *,
        plan: Reader,
        source: Reader,
        finished: LineSet,
        log: BatchLog,
        may_send: Callable[[int], bool],
        on_change: Callable[[bool], None],
    ) -> None:
        self.batch_id = claimed.shard.batch_id
        self.shard = claimed.shard.shard
        self.model = claimed.shard.model
        self.endpoint = claimed.endpoint
        self.expires_at = claimed.expires_at
        #: Whether every line has an outcome; whether outcomes that still come shall be ignored.
        self.done = False
        self.abandoned = False
        self.settled = 0
        self._plan = plan
        self._source = source
        self._finished = finished
        self._log = log
        self._may_send = may_send
        self._on_change = on_change
        self._records = self._read_plan()
        self._taken = 0
        self._exhausted = False

    def take(self) -> Work | None:
        """The next line that was not sent; None behind the last one, or once the stop line is crossed."""
        if self.abandoned or not self._may_send(self.expires_at):
            return None
        for planned in self._records:
            if planned.line not in self._finished:
                self._taken += 1
                return Work(planned)
        self._exhausted = True
        return None

    def body(self, work: Work) -> bytes:
        """The request body of a line, as it stands in the input."""
        planned: Planned = work.line
        custom_id, body = take_apart(self._source.read_at(planned.offset, planned.length))
        work.custom_id = custom_id if custom_id is not None else b'"%d"' % planned.line
        return body

    def settle(self, work: Work, outcome: Outcome) -> None:
        """Put the last word on a line into the log."""
        if self.abandoned:
            return
        if not work.custom_id:
            self.body(work)
        line = work.line.line
        ident = line_id(self.batch_id, line)
        if isinstance(outcome, Answered):
            record = _response(ident, work.custom_id, outcome.answer)
            self._log.add(line, Fate.ANSWERED, record, outcome.usage)
        elif isinstance(outcome, Refused):
            self._log.add(line, Fate.FAILED, _response(ident, work.custom_id, outcome.answer))
        else:
            self._log.add(line, Fate.FAILED, _given_up(ident, work.custom_id, outcome))
        self.settled += 1
        self._on_change(False)

    def emptied(self) -> None:
        """Nothing more will be sent. The shard is done if each of its lines has its last word: a lane that
        was closed is empty too, yet the lines that waited in it to be tried again never ran.
        """
        every_line = self._exhausted and self.settled == self._taken
        if every_line and not self.done and not self.abandoned:
            self.done = True
            self._on_change(True)

    def close(self) -> None:
        """Let go of the files."""
        self._plan.close()
        self._source.close()

    def _read_plan(self) -> Iterator[Planned]:
        offset = 0
        while data := self._plan.read_at(offset, _PLANS_AT_ONCE * PLANNED_BYTES):
            offset += len(data)
            yield from read_plan(data)


def _response(ident: str, custom_id: bytes, answer: Answer) -> bytes:
    return response_line(
        ident, custom_id, answer.status, answer.request_id or f"req_{ident[10:]}", _as_json(answer)
    )


def _given_up(ident: str, custom_id: bytes, failed: Failed) -> bytes:
    """An HTTP error keeps its status and body; anything else is told in words."""
    if failed.answer is not None and failed.answer.status >= 400:
        return _response(ident, custom_id, failed.answer)
    return failure_line(
        ident, custom_id, failed.failure.code, f"{failed.detail}; given up after several attempts."
    )


def _as_json(answer: Answer) -> bytes:
    """The body as it came if it is JSON, else an error object with the beginning of its text."""
    body = answer.body
    try:
        if answer.status >= 300:
            read_usage(body)
    except ValueError:
        text = body.decode("utf-8", "replace").strip()[:_TEXT_CHARS_MAX]
        return error_object(text or f"The upstream answered {answer.status} without a body.")
    return on_one_line(body)

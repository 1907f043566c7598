"""The lines that a worker holds of one shard, as it sends them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from bulkrate.blobs import Reader
from bulkrate.core.body import on_one_line
from bulkrate.core.outcome import Answer, Answered, Failed, Outcome, Refused
from bulkrate.core.plan import PLANNED_BYTES, Fate, LineSet, Planned, read_plan
from bulkrate.core.validate import take_apart
from bulkrate.dispatch import Work
from bulkrate.engine.log import BatchLog
from bulkrate.engine.loops.ahead import ReadAhead
from bulkrate.providers.usage import read_usage
from bulkrate.store.records import Offer, Range
from bulkrate.wire.lines import error_object, failure_line, line_id, response_line

# Plan records read at once; a thousand loads at once hold 12 MB of them.
_PLANS_AT_ONCE = 512
# How much of a foreign error text goes into the error file.
_TEXT_CHARS_MAX = 4_000


class Part:
    """A claimed range: how many of its places were taken, and how many of its lines have no outcome yet."""

    __slots__ = ("fresh", "left", "lines", "start", "taken")

    def __init__(self, start: int, lines: int, *, fresh: bool) -> None:
        self.start = start
        self.lines = lines
        self.fresh = fresh
        self.taken = 0
        self.left = lines


class ShardLoad:
    """Takes the lines of claimed ranges from the plan, and puts their outcomes into the batch's log.

    `on_low` is told when few lines are left to take, `on_change` of every outcome, and with True when nothing
    is left in any form.
    """

    def __init__(
        self,
        offer: Offer,
        *,
        plan: Reader,
        source: Reader,
        log: BatchLog,
        may_send: Callable[[int], bool],
        on_low: Callable[[], None],
        on_change: Callable[[bool], None],
    ) -> None:
        self.batch_id = offer.shard.batch_id
        self.shard = offer.shard.shard
        self.model = offer.shard.model
        self.endpoint = offer.endpoint
        self.expires_at = offer.expires_at
        #: Whether outcomes that still come shall be ignored.
        self.abandoned = False
        #: Whether the store may have more lines of it.
        self.more = True
        #: Lines that can be taken, lines that were, and lines with an outcome.
        self.stock = 0
        self.taken = 0
        self.settled = 0
        #: The ranges that are not done.
        self.parts: list[Part] = []
        self._plan = plan
        self._source = source
        self._ahead = ReadAhead(source)
        self._log = log
        self._may_send = may_send
        self._on_low = on_low
        self._on_change = on_change
        self._low = 0
        self._unread: deque[tuple[Part, Iterable[Planned]]] = deque()
        self._works = self._read_works()

    @property
    def in_time(self) -> bool:
        """Whether a line that is sent now can be answered before the batch's deadline."""
        return self._may_send(self.expires_at)

    def hold(self, claimed: Range) -> Part:
        """A range is ours. Nothing of it is sent before `feed` or `feed_rest` says so."""
        part = Part(claimed.start, claimed.lines, fresh=claimed.fresh)
        self.parts.append(part)
        return part

    def feed(self, part: Part) -> None:
        """All lines of a range are to be sent."""
        self._put(part, part.lines, self._planned(part))

    def feed_rest(self, part: Part, finished: LineSet) -> None:
        """Those lines of a range are to be sent that are not `finished`. Raises `BlobError`."""
        self._put(part, len(rest := self._rest(part, finished)), rest)

    def warn_at(self, low: int) -> None:
        """Tell `on_low` when no more than `low` lines are left to take; at the next one, if so few are."""
        self._low = max(0, min(low, self.stock - 1))

    def works_left(self, part: Part, finished: LineSet) -> list[Work]:
        """The lines of a range that are not `finished`, to be sent by the caller. Raises `BlobError`."""
        part.taken = part.lines
        return [Work(planned, part) for planned in self._rest(part, finished)]

    def take(self) -> Work | None:
        """The next line that was not sent; None when there is none, or once the stop line is crossed."""
        if self.abandoned or not self._may_send(self.expires_at):
            return None
        work = next(self._works, None)
        if work is None and self._unread:
            self._works = self._read_works()
            work = next(self._works, None)
        if work is not None:
            self.taken += 1
            self.stock -= 1
            if self.stock == self._low:
                self._on_low()
        return work

    def body(self, work: Work) -> bytes:
        """The request body of a line, as it stands in the input."""
        planned: Planned = work.line
        custom_id, body = take_apart(self._ahead.read_at(planned.offset, planned.length))
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
        work.part.left -= 1
        self.settled += 1
        self._on_change(False)

    def emptied(self) -> None:
        """Nothing is left to send, unless more is claimed."""
        self._on_change(True)

    def close(self) -> None:
        """Let go of the files."""
        self._plan.close()
        self._source.close()

    def _rest(self, part: Part, finished: LineSet) -> list[Planned]:
        rest = [planned for planned in self._planned(part) if planned.line not in finished]
        part.left = len(rest)
        return rest

    def _put(self, part: Part, lines: int, records: Iterable[Planned]) -> None:
        self._unread.append((part, records))
        self.stock += lines

    def _read_works(self) -> Iterator[Work]:
        while self._unread:
            part, records = self._unread.popleft()
            for planned in records:
                part.taken += 1
                yield Work(planned, part)

    def _planned(self, part: Part) -> Iterator[Planned]:
        end = (part.start + part.lines) * PLANNED_BYTES
        for offset in range(part.start * PLANNED_BYTES, end, _PLANS_AT_ONCE * PLANNED_BYTES):
            size = min(_PLANS_AT_ONCE * PLANNED_BYTES, end - offset)
            yield from read_plan(self._plan.read_at(offset, size))


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

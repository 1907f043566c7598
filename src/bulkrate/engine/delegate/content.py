"""The content of a remote batch: the lines of a group in the provider's own form, and which lines they are.

Beside the content lies a plan of just its lines, in the same order: what comes back is found in it, and a
line number that a provider complains about.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from bulkrate.blobs import Blobs, Reader, Writer
from bulkrate.core.body import edited
from bulkrate.core.delegation import Group, Room, estimated_tokens
from bulkrate.core.plan import PLANNED_BYTES, LineSet, Planned, read_plan, write_planned
from bulkrate.core.tokens.guess import guess
from bulkrate.core.tokens.request import request_tokens
from bulkrate.core.validate import take_apart
from bulkrate.engine.loops.ahead import ReadAhead
from bulkrate.errors import InvalidRequest
from bulkrate.providers.batch.base import Untranslatable, Vendor, line_id
from bulkrate.providers.batch.limits import embedding_inputs
from bulkrate.store.records import Range

_PLANS_AT_ONCE = 512
_BUFFER_BYTES = 1 << 20
# Lines that cannot be expressed are told of before more are read.
_UNFIT_MAX = 10_000


def lines_key(content: str) -> str:
    """Where the plan of a content lies."""
    return f"{content}.lines"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfit:
    """A line that the provider cannot be asked, and why."""

    planned: Planned
    custom_id: bytes
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A content that lies durably in its place. `ranges` are those stretches of which it has the lines that
    are not finished; of no lines, there is no content.
    """

    lines: int
    size: int
    tokens: int
    fingerprint: str
    ranges: tuple[Range, ...]


class ContentWriter:
    """Writes a content and its plan, a range after the other, until no more fits."""

    def __init__(
        self,
        blobs: Blobs,
        key: str,
        *,
        remote: str,
        vendor: Vendor,
        endpoint: str,
        model: str | None,
        room: Room,
        put: dict[str, object],
        drop: Sequence[str],
        source: Reader,
    ) -> None:
        #: The lines that cannot be expressed.
        self.unfit: list[Unfit] = []
        self._content: Writer = blobs.create(key)
        self._plan: Writer = blobs.create(lines_key(key))
        self._remote = remote
        self._vendor = vendor
        self._endpoint = endpoint
        self._put = dict(put) if model is None else {**put, "model": model}
        self._drop = drop
        self._source = ReadAhead(source)
        self._bytes_max = room.bytes
        self._group = Group(room, between=len(vendor.between))
        self._hash = hashlib.sha256()
        self._lines: list[bytes] = []
        self._places: list[bytes] = []
        self._waiting = 0
        self._ranges: list[Range] = []
        self._full = False

    @property
    def full(self) -> bool:
        """Whether no further line fits, or enough is to be told of."""
        return self._full or self._group.full or len(self.unfit) >= _UNFIT_MAX

    @property
    def lines(self) -> int:
        """How many lines it has."""
        return self._group.lines

    def add(self, one: Range, plan: Reader, finished: LineSet) -> None:
        """The lines of a range that are not finished, as many as fit. Raises `BlobError`."""
        places = 0
        for planned in _planned(one, plan):
            if planned.line not in finished and not self._add(planned):
                self._full = True
                break
            places += 1
        if places:
            self._ranges.append(replace(one, lines=places))

    def keep(self) -> Written:
        """Make it durable; without a line, leave nothing. Raises `NoSpace`, `BlobError`."""
        self._flush()
        if self._group.lines:
            self._content.keep()
            self._plan.keep()
        else:
            self.discard()
        return Written(
            lines=self._group.lines,
            size=self._group.bytes,
            tokens=self._group.tokens,
            fingerprint=self._hash.hexdigest(),
            ranges=tuple(self._ranges),
        )

    def discard(self) -> None:
        """Leave nothing behind. Does nothing after `keep`."""
        self._content.discard()
        self._plan.discard()

    def _add(self, planned: Planned) -> bool:
        """Take a line in, or put it among the unfit; False when it does not fit any more."""
        found, body = take_apart(self._source.read_at(planned.offset, planned.length))
        custom_id = found if found is not None else b'"%d"' % planned.line
        try:
            if self._endpoint not in self._vendor.endpoints:
                message = f"{self._vendor.name} has no batches for {self._endpoint}"
                raise Untranslatable("url", message)
            inputs = embedding_inputs(body) if self._endpoint == "/v1/embeddings" else 0
            if self._put or self._drop:
                body = edited(body, put=self._put, drop=self._drop)
            line = self._vendor.to_vendor(line_id(self._remote, planned.line), self._endpoint, body)
        except Untranslatable as cause:
            self._blame(planned, custom_id, "unsupported_by_provider", f"{cause.param}: {cause.message}")
            return True
        except ValueError as cause:
            self._blame(planned, custom_id, "unsupported_by_provider", str(cause))
            return True
        if len(line) > self._bytes_max:
            message = f"the line has {len(line)} bytes; a batch of {self._vendor.name} has {self._bytes_max}"
            self._blame(planned, custom_id, "too_large_for_provider", message)
            return True
        tokens = _input_tokens(body, self._endpoint)
        if not self._group.takes(len(line), tokens=tokens, inputs=inputs):
            return False
        self._write(line, planned)
        self._group.add(len(line), tokens=tokens, inputs=inputs)
        return True

    def _write(self, line: bytes, planned: Planned) -> None:
        if self._group.lines:
            self._lines.append(self._vendor.between)
        self._lines.append(line)
        self._places.append(write_planned(planned))
        self._waiting += len(line)
        if self._waiting > _BUFFER_BYTES:
            self._flush()

    def _flush(self) -> None:
        data = b"".join(self._lines)
        self._hash.update(data)
        self._content.write(data)
        self._plan.write(b"".join(self._places))
        self._lines, self._places, self._waiting = [], [], 0

    def _blame(self, planned: Planned, custom_id: bytes, code: str, message: str) -> None:
        self.unfit.append(Unfit(planned=planned, custom_id=custom_id, code=code, message=message))


def _input_tokens(body: bytes, endpoint: str) -> int:
    """About how many input tokens a line has. Only where a file stands among the text is that looked at: its
    bytes say nothing about its tokens.
    """
    if b";base64," not in body:
        return estimated_tokens(len(body))
    try:
        return max(1, request_tokens(body, endpoint, guess).input.likely)
    except InvalidRequest:
        return estimated_tokens(len(body))


class ContentLines:
    """Which lines a content has. Raises `BlobError` when that is gone."""

    def __init__(self, blobs: Blobs, content: str) -> None:
        reader = blobs.open(lines_key(content))
        try:
            self._data = reader.read_at(0, reader.size)
        finally:
            reader.close()
        self._index = {planned.line: number for number, planned in enumerate(self)}

    def __len__(self) -> int:
        return len(self._data) // PLANNED_BYTES

    def __iter__(self) -> Iterator[Planned]:
        return read_plan(self._data)

    def find(self, line: int) -> Planned | None:
        """The line with this number; None when it is not in the content."""
        number = self._index.get(line)
        return None if number is None else self._at(number)

    def nth(self, number: int) -> Planned | None:
        """The `number`th line of the content, from 1 on."""
        return self._at(number - 1) if 1 <= number <= len(self) else None

    def _at(self, number: int) -> Planned:
        [planned] = read_plan(self._data[number * PLANNED_BYTES : (number + 1) * PLANNED_BYTES])
        return planned


def _planned(one: Range, plan: Reader) -> Iterator[Planned]:
    end = (one.start + one.lines) * PLANNED_BYTES
    for offset in range(one.start * PLANNED_BYTES, end, _PLANS_AT_ONCE * PLANNED_BYTES):
        yield from read_plan(plan.read_at(offset, min(_PLANS_AT_ONCE * PLANNED_BYTES, end - offset)))


def unfinished(one: Range, plan: Reader, finished: LineSet) -> int:
    """How many lines of a range have no outcome. Raises `BlobError`."""
    return sum(planned.line not in finished for planned in _planned(one, plan))

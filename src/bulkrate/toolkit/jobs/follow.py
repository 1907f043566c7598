"""One round, from its files of requests to its outcomes: submitted, followed, collected.

Every step is written into the job's record before the next: what is sent is asked for under a key that is
known beforehand, and what is collected counts together with how far was read. So a successor repeats nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import islice
from pathlib import Path

import msgspec

from bulkrate.errors import Conflict, NotFound, ServerUnreachable, Unavailable
from bulkrate.providers.usage import Usage
from bulkrate.toolkit.batch_api import RemoteBatch
from bulkrate.toolkit.jobs.answers import Answers, Outcome, Status
from bulkrate.toolkit.jobs.collect import Collector, lines_in
from bulkrate.toolkit.jobs.money import bought
from bulkrate.toolkit.jobs.record import JobRecord, Part, Round
from bulkrate.toolkit.jobs.requests import rows_in
from bulkrate.toolkit.place import Place

# Results that count together: a crash has at most these read again.
_LINES_AT_ONCE = 2_000
_POLL_GROWTH = 1.5
#: So many polls in a row may fail before the job gives up for now.
_FAILED_POLLS_MAX = 5


class Moving(msgspec.Struct):
    """How the batches of a round move, for progress."""

    in_flight: int = 0
    lines_per_second: float = 0.0
    paused: str | None = None
    done: int = 0


class Follower:
    """Sees a round through. `paid` says what an answer cost; `save` makes the record durable; `pause` waits
    so many seconds, or raises.
    """

    def __init__(
        self,
        record: JobRecord,
        folder: Path,
        place: Place,
        answers: Answers,
        collector: Collector,
        *,
        paid: Callable[[str, Usage], Decimal | None],
        save: Callable[[], None],
        pause: Callable[[float], None],
        moved: Callable[[Moving], None],
    ) -> None:
        self._record = record
        self._folder = folder
        self._place = place
        self._answers = answers
        self._collector = collector
        self._paid = paid
        self._save = save
        self._pause = pause
        self._moved = moved

    def follow(self, round_: Round) -> None:
        """Return when every part has ended and is collected."""
        for part in round_.parts:
            if part.batch_id is None:
                self._submit(part)
        shortest, longest = self._place.poll_s
        wait_s, failed = shortest, 0
        while open_parts := [part for part in round_.parts if not part.collected]:
            moving = Moving()
            try:
                got = sum(self._look(part, round_, moving) for part in open_parts)
                failed = 0
            except (ServerUnreachable, Unavailable):
                failed += 1
                if failed > _FAILED_POLLS_MAX:
                    raise
                self._place.again()
                got = 0
            self._moved(moving)
            wait_s = shortest if got else min(wait_s * _POLL_GROWTH, longest)
            if not all(part.collected for part in round_.parts):
                self._pause(wait_s)

    def cancel(self, round_: Round) -> None:
        """Ask for every running part to stop. What was answered is collected by `follow`, as ever."""
        for part in round_.parts:
            if part.batch_id is None:
                part.collected = True
            elif not part.collected:
                try:
                    self._place.api.cancel(part.batch_id)
                except Conflict:
                    continue  # it has ended by itself
        self._save()

    def _submit(self, part: Part) -> None:
        api = self._place.api
        metadata = {"bulkrate_job": self._record.id, "bulkrate_part": part.key}
        if part.file_id is not None and not self._place.ours:
            # The create call may have been done though its answer never came; this server knows no keys.
            found = api.find(metadata)
            if found is not None:
                part.batch_id, part.status = found.id, found.status
                self._save()
                return
        if part.file_id is None:
            part.file_id = api.upload(self._folder / part.file)
            self._save()
        try:
            batch = api.create(
                part.file_id,
                endpoint=part.endpoint,
                window=self._record.spec.window,
                metadata=metadata,
                key=part.key,
                isolate=self._place.ours,
            )
        except NotFound:
            # The upload has expired, or another server answers here now.
            part.file_id = None
            self._save()
            self._submit(part)
            return
        part.batch_id, part.status = batch.id, batch.status
        self._save()

    def _look(self, part: Part, round_: Round, moving: Moving) -> int:
        """See how a part is getting on and take in what has come; how many lines that was."""
        assert part.batch_id is not None  # noqa: S101  # it was submitted
        batch = self._place.api.get(part.batch_id)
        part.status = batch.status
        if batch.progress is not None:
            moving.in_flight += batch.progress.in_flight
            moving.lines_per_second += batch.progress.lines_per_second
            moving.paused = moving.paused or batch.progress.paused
        if batch.request_counts is not None:
            moving.done += batch.request_counts.completed + batch.request_counts.failed
        if self._place.ours:
            got = self._take_growing(part, "output", round_) + self._take_growing(part, "errors", round_)
        else:
            got = self._take_files(part, batch, round_) if batch.ended else 0
        if batch.ended:
            self._close(part, batch)
        return got

    def _take_growing(self, part: Part, stream: str, round_: Round) -> int:
        got = 0
        while True:
            offset = part.read_output if stream == "output" else part.read_errors
            assert part.batch_id is not None  # noqa: S101  # it was submitted
            data, _ = self._place.api.growing(part.batch_id, stream, offset)
            whole = data[: data.rfind(b"\n") + 1]
            if not whole:
                return got
            got += self._take(part, stream, lines_in(iter([whole])), round_)

    def _take_files(self, part: Part, batch: RemoteBatch, round_: Round) -> int:
        got = 0
        for stream, file_id in (("output", batch.output_file_id), ("errors", batch.error_file_id)):
            if not file_id:  # Azure sends an empty text where there is no file
                continue
            offset = part.read_output if stream == "output" else part.read_errors
            with self._place.api.content(file_id, offset) as answer:
                if answer.status == 416:  # nothing comes after the offset
                    continue
                if answer.status >= 400:
                    raise Unavailable(f"the results of {part.batch_id} cannot be read ({answer.status})")
                skip = offset if answer.status == 200 else 0
                chunks = iter(lambda: bytes(answer.body_reader.read_chunk() or b""), b"")
                got += self._take(part, stream, lines_in(_without(chunks, skip)), round_)
        return got

    def _take(self, part: Part, stream: str, lines: Iterator[bytes], round_: Round) -> int:
        """Collect lines in groups that count together with how far they were read."""
        got = 0
        while group := list(islice(lines, _LINES_AT_ONCE)):
            for line in group:
                self._take_line(line, round_.model)
            size = sum(map(len, group))
            if stream == "output":
                part.read_output += size
            else:
                part.read_errors += size
            self._record.answers_bytes = self._answers.commit()
            self._save()
            got += len(group)
        return got

    def _take_line(self, line: bytes, model: str | None) -> None:
        outcomes, usage = self._collector.read(line, model)
        self._answers.add(outcomes)
        if not outcomes or outcomes[0].model is None:
            return
        bought(self._record.tokens, outcomes[0].model, usage, self._paid(outcomes[0].model, usage))

    def _close(self, part: Part, batch: RemoteBatch) -> None:
        """The batch has ended and its lines are in. Rows it never spoke of are told as missing, with why."""
        faults = (batch.errors.data if batch.errors else None) or []
        by_line = {fault.line: fault for fault in faults if fault.line}
        why = next((fault for fault in faults if fault.message), None)
        with (self._folder / part.file).open("rb") as file:
            for number, line in enumerate(file, start=1):
                rows = rows_in(msgspec.json.decode(line, type=_CustomId).custom_id)
                if self._answers.status(rows[0]) is not Status.PENDING:
                    continue
                fault = by_line.get(number, why if not by_line else None)
                self._answers.add(
                    Outcome(
                        row=row,
                        status=Status.FAILED,
                        code=(fault and fault.code) or "missing",
                        message=(fault and fault.message) or f"the batch {batch.status} without this line",
                        retryable=fault is None or (bool(by_line) and number not in by_line),
                        attempts=0,
                    )
                    for row in rows
                )
        part.collected = True
        self._record.answers_bytes = self._answers.commit()
        self._save()


class _CustomId(msgspec.Struct):
    custom_id: str


def _without(chunks: Iterator[bytes], skip: int) -> Iterator[bytes]:
    """The chunks without their first `skip` bytes, for servers that do not know ranges."""
    for chunk in chunks:
        if skip >= len(chunk):
            skip -= len(chunk)
            continue
        yield chunk[skip:]
        skip = 0

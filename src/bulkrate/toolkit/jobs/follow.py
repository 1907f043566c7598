"""One round, from its files of requests to its outcomes: submitted, followed, collected.

Every step is written into the job's record before the next: what is sent is asked for under a key that is
known beforehand, and what is collected counts together with how far was read. So a successor repeats nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import msgspec

from bulkrate.engine.points import reach
from bulkrate.errors import Conflict, JobError, NotFound, ServerUnreachable, Unavailable
from bulkrate.toolkit.jobs.answers import Answers, Outcome, Status
from bulkrate.toolkit.jobs.collect import Collector, lines_in
from bulkrate.toolkit.jobs.money import Prices, bought
from bulkrate.toolkit.jobs.patience import Moving, Patience
from bulkrate.toolkit.jobs.record import JobRecord, Part, Round, doing
from bulkrate.toolkit.jobs.requests import rows_in
from bulkrate.toolkit.places.batch_api import GROWING_BYTES, RemoteBatch
from bulkrate.toolkit.places.place import Place

# Results that count together: a crash has at most these read again.
_LINES_AT_ONCE = 2_000
_POLL_GROWTH = 1.5
#: So many polls in a row may fail before the job gives up for now.
_FAILED_POLLS_MAX = 5
#: A batch that was refused as a whole for one of these may be taken later.
_PASSING_FAULTS = {"token_limit_exceeded"}


class Follower:
    """Sees a round through. `prices` say what an answer cost; `save` makes the record durable; `pause` waits
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
        prices: Prices,
        save: Callable[[], None],
        pause: Callable[[float], None],
        moved: Callable[[Moving], None],
    ) -> None:
        self._record = record
        self._folder = folder
        self._place = place
        self._answers = answers
        self._collector = collector
        self._prices = prices
        self._save = save
        self._pause = pause
        self._moved = moved
        self._patience = Patience(record)

    def follow(self, round_: Round) -> None:
        """Return when every part has ended and is collected."""
        shortest, longest = self._place.poll_s
        wait_s, failed = shortest, 0
        while open_parts := [part for part in round_.parts if not part.collected]:
            moving = Moving()
            got = 0
            try:
                for part in open_parts:
                    if part.batch_id is None:
                        self._submit(part)
                got = sum(self._look(part, round_, moving) for part in open_parts)
            except (ServerUnreachable, Unavailable):
                failed += 1
                if failed > _FAILED_POLLS_MAX:
                    raise
                self._place.again()
            else:
                failed = 0
                if self._place.embedded:
                    self._patience.look(moving)
            if self._record.waiting != moving.paused:
                self._record.waiting = moving.paused
                self._save()
            self._moved(moving)
            wait_s = shortest if got else min(wait_s * _POLL_GROWTH, longest)
            if not all(part.collected for part in round_.parts):
                self._pause(wait_s)

    def cancel(self, round_: Round) -> None:
        """Ask for every running part to stop. What was answered is collected by `follow`, as ever."""
        for part in round_.parts:
            if part.collected:
                continue
            if part.batch_id is None and not self._was_created(part):
                part.collected = True
                continue
            try:
                self._place.api.cancel(part.batch_id or "")
            except Conflict:
                continue  # it has ended by itself
            except NotFound:
                self._close(part, RemoteBatch(id=part.batch_id or "", status="was lost"))
        self._save()

    def _submit(self, part: Part) -> None:
        # A server that knows no keys may have begun the batch though its answer never came.
        if not self._place.ours and self._was_created(part):
            return
        uploaded_before = part.file_id is not None
        if part.file_id is None:
            part.file_id = self._place.api.upload(self._folder / part.file)
            reach("job.uploaded")
            self._save()
        try:
            batch = self._place.api.create(
                part.file_id,
                endpoint=part.endpoint,
                window=self._record.spec.window,
                metadata=self._metadata(part),
                key=part.key,
                isolate=self._place.ours,
            )
        except NotFound:
            if not uploaded_before:
                raise
            # The upload has expired, or another server answers here now.
            part.file_id = None
            self._submit(part)
            return
        reach("job.created")
        part.batch_id, part.status = batch.id, batch.status
        self._save()

    def _was_created(self, part: Part) -> bool:
        """Look for the batch of a part whose input is there, but whose create call had no answer."""
        if part.file_id is None:
            return False
        found = self._place.api.find(self._metadata(part))
        if found is None:
            return False
        part.batch_id, part.status = found.id, found.status
        self._save()
        return True

    def _metadata(self, part: Part) -> dict[str, str]:
        return {"bulkrate_job": self._record.id, "bulkrate_part": part.key}

    def _look(self, part: Part, round_: Round, moving: Moving) -> int:
        """See how a part is getting on and take in what has come; how many lines that was."""
        assert part.batch_id is not None  # noqa: S101  # it was submitted
        try:
            batch = self._place.api.get(part.batch_id)
        except NotFound as error:
            raise JobError(
                f"{self._place.where} does not know {part.batch_id} of job {self._record.id} (any more, or "
                "not with this key). To give it up and send its rows again, which may pay for them twice: "
                f"{doing('cancel', self._record.id)}, then {doing('retry', self._record.id, 'retry_failed')}"
            ) from error
        part.status = batch.status
        progress = batch.progress
        moving.stands &= progress is not None and progress.paused is not None and not progress.in_flight
        moving.key_refused &= progress is not None and progress.key_refused
        if progress is not None:
            moving.in_flight += progress.in_flight
            moving.lines_per_second += progress.lines_per_second
            moving.paused = moving.paused or progress.waiting
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
        more = True
        while more:
            offset = part.read_output if stream == "output" else part.read_errors
            assert part.batch_id is not None  # noqa: S101  # it was submitted
            data = self._place.api.growing(part.batch_id, stream, offset)
            whole = data[: data.rfind(b"\n") + 1]
            got += self._take(part, stream, lines_in(iter([whole])), round_)
            more = len(data) >= GROWING_BYTES
        return got

    def _take_files(self, part: Part, batch: RemoteBatch, round_: Round) -> int:
        got = 0
        for stream, file_id in (("output", batch.output_file_id), ("errors", batch.error_file_id)):
            if file_id:  # Azure sends an empty text where there is no file
                offset = part.read_output if stream == "output" else part.read_errors
                chunks = self._place.api.content(file_id, offset)
                got += self._take(part, stream, lines_in(chunks), round_)
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
            reach("job.gathered")
            self._save()
            got += len(group)
        return got

    def _take_line(self, line: bytes, model: str | None) -> None:
        outcomes, usage = self._collector.read(line, model)
        self._answers.add(outcomes)
        if outcomes and (answered := outcomes[0]).model is not None:
            bought(self._record.tokens, self._prices, answered.model, usage, answered.delegated)

    def _close(self, part: Part, batch: RemoteBatch) -> None:
        """The batch has ended and its lines are in. Rows it never spoke of are told as missing, with why."""
        by_line = {fault.line: fault for fault in batch.faults if fault.line}
        why = next((fault for fault in batch.faults if fault.message), None)
        with (self._folder / part.file).open("rb") as file:
            for number, line in enumerate(file, start=1):
                rows = rows_in(msgspec.json.decode(line, type=_CustomId).custom_id)
                fault = by_line.get(number, why if not by_line else None)
                self._answers.add(
                    Outcome(
                        row=row,
                        status=Status.FAILED,
                        code=(fault and fault.code) or "missing",
                        message=(fault and fault.message) or f"the batch {batch.status} without this line",
                        retryable=fault is None or fault.code in _PASSING_FAULTS,
                        attempts=0,
                    )
                    for row in rows
                    if self._answers.status(row) is Status.PENDING
                )
        part.collected = True
        self._record.answers_bytes = self._answers.commit()
        reach("job.collected")
        self._save()
        if self._place.embedded:  # the job has all of it now, and would else keep it twice
            for file_id in (part.file_id, batch.output_file_id, batch.error_file_id):
                if file_id:
                    self._place.api.delete_file(file_id)


class _CustomId(msgspec.Struct):
    custom_id: str

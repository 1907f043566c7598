"""A job as Python sees it: begun, waited for, read, retried, cancelled; in a script, a notebook or
asyncio.
"""

from __future__ import annotations

import asyncio
import html
import os
import sys
import threading
import time
import weakref
from collections.abc import Generator, Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, overload

import msgspec

from bulkrate.errors import JobError, TimedOut
from bulkrate.providers.usage import Usage as Tokens
from bulkrate.toolkit.jobs.answers import Answers, Outcome, Status
from bulkrate.toolkit.jobs.desk import Desk, Listener
from bulkrate.toolkit.jobs.money import Prices, told_of
from bulkrate.toolkit.jobs.reading import rows_path
from bulkrate.toolkit.jobs.record import JobFolder, JobRecord
from bulkrate.toolkit.jobs.summary import summary, summary_lines
from bulkrate.toolkit.recipes.classify import confidence_column
from bulkrate.toolkit.rows.plain import numbers
from bulkrate.toolkit.rows.snapshot import RowLog, decoded
from bulkrate.toolkit.rows.table import Row, Vector
from bulkrate.wording import called

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]
    import polars as pl
    import pyarrow as pa  # type: ignore[import-untyped]
    from tqdm.std import tqdm

    from bulkrate.toolkit.jobs.progress import Progress
    from bulkrate.toolkit.sources.base import Source

_LOOK_S = 0.5


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one row's answer."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0


class RowError(msgspec.Struct, frozen=True):
    """Why a row has no answer."""

    code: str
    message: str


class RowResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one row came to.

    `value` is the answer: a text, a label, a list of numbers; a dict where the answer has several columns, or
    the whole response body for requests that were run as they are. `confidence` is from 0 to 1, None where
    nobody told it. `cost` is in dollars, None while unknown.
    """

    index: int
    row: Row
    ok: bool
    value: Any = None
    confidence: float | None = None
    error: RowError | None = None
    skipped: bool = False
    retryable: bool = False
    attempts: int = 0
    usage: Usage = Usage()
    cost: Decimal | None = None
    model: str | None = None


class Results(Sequence[RowResult]):
    """The results of all rows in the order of the source, read from disk as they are asked for."""

    def __init__(self, folder: JobFolder, record: JobRecord, prices: Prices) -> None:
        self._folder = folder
        self._record = record
        self._prices = prices
        self._beside = confidence_column(record.spec.asking)
        self._rows = RowLog(rows_path(folder.path), rows=record.rows, writable=False)
        self._answers = Answers(
            folder.path, rows=record.rows or 0, committed=record.answers_bytes, writable=False
        )
        weakref.finalize(self, _close, self._rows, self._answers)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> RowResult: ...
    @overload
    def __getitem__(self, index: slice) -> list[RowResult]: ...
    def __getitem__(self, index: int | slice) -> RowResult | list[RowResult]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        at = index + len(self) if index < 0 else index
        return self._result(at, self._rows.get(at), self._answers.get(at))

    def __iter__(self) -> Iterator[RowResult]:
        for at, row in enumerate(self._rows.rows()):
            yield self._result(at, row, self._answers.get(at))

    def more(self, record: JobRecord) -> Iterator[RowResult]:
        """The answers that came since this was last asked, those left out that are to be better yet."""
        read, self._record = self._record.answers_bytes, record
        self._answers.extend(record.answers_bytes)
        unsure_below = record.spec.model.confidence_min if record.spec.model.escalate else None
        for outcome in self._answers.between(read, record.answers_bytes):
            sure = unsure_below is None or outcome.confidence is None or outcome.confidence >= unsure_below
            if outcome.status == Status.SKIPPED or (outcome.status == Status.ANSWERED and sure):
                yield self._result(outcome.row, self._rows.get(outcome.row), outcome)

    @property
    def values(self) -> list[Any]:
        """The answers alone; None where there is none."""
        return [result.value for result in self]

    @property
    def failed(self) -> list[RowResult]:
        """The rows without an answer, but for those that were not worth sending."""
        return [result for result in self if not result.ok and not result.skipped]

    def _result(self, at: int, row: Row, outcome: Outcome | None) -> RowResult:
        if self._record.spec.asking.recipe == "requests":
            row = {**row, "body": msgspec.json.decode(row["body"])}
        if outcome is None:
            return RowResult(
                index=at, row=row, ok=False, error=RowError("pending", "not answered yet"), retryable=True
            )
        usage = Usage(outcome.input_tokens, outcome.cached_tokens, outcome.output_tokens)
        ok = outcome.status == Status.ANSWERED
        return RowResult(
            index=at,
            row=row,
            ok=ok,
            value=self._value(outcome) if ok else None,
            confidence=outcome.confidence,
            error=None if ok else RowError(outcome.code or "skipped", outcome.message or ""),
            skipped=outcome.status == Status.SKIPPED,
            retryable=not ok and outcome.retryable,
            attempts=self._answers.attempts(at),
            usage=usage,
            cost=self._cost(outcome),
            model=outcome.model,
        )

    def _value(self, outcome: Outcome) -> Any:
        cells = {name: _told(cell) for name, cell in decoded(outcome.cells or b"\x80").items()}
        if self._record.spec.asking.recipe == "requests":
            return msgspec.json.decode(cells["response"])["body"]
        cells.pop(self._beside or "", None)
        return next(iter(cells.values())) if len(cells) == 1 else cells

    def _cost(self, outcome: Outcome) -> Decimal | None:
        if outcome.reused:
            return Decimal(0)
        if outcome.model is None:
            return None
        used = Tokens(outcome.input_tokens, outcome.cached_tokens, outcome.output_tokens, 0, 0)
        return self._prices.paid(outcome.model, used, outcome.delegated)


def _close(rows: RowLog, answers: Answers) -> None:
    rows.close()
    answers.close()


class Job:
    """A job that runs in the background. Make one with `bulkrate.map` and its kin, or find one by its id.

    Wait with `result()`, `wait()` or `await`. A process that ends stops it; `Job.from_id(id).resume()` goes
    on.
    """

    def __init__(
        self, desk: Desk, folder: JobFolder, *, source: Source | None = None, progress: bool | None = None
    ) -> None:
        self.id = folder.id
        self._desk = desk
        self._folder = folder
        self._source = source
        self._progress = _watched() if progress is None else progress
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._trouble: BaseException | None = None

    @classmethod
    def from_id(cls, job: str, *, data: str | os.PathLike[str] | None = None) -> Job:
        """The job with this id, or the newest with this name. Raises `JobError` when there is none."""
        desk = Desk.at(data, os.environ)
        return cls(desk, desk.jobs.find(job))

    def resume(self) -> Job:
        """Go on where it stopped. Does nothing for a job that has ended."""
        if not self._folder.load().state.ended:
            self._start(again=False)
        return self

    def wait(self, timeout: float | None = None) -> Job:
        """Return when it has ended, in this process or in another. Raises `TimedOut` after `timeout` seconds,
        and whatever stopped it.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while self._runs(until):
            if until is not None and time.monotonic() >= until:
                raise TimedOut(f"job {self.id} is not done after {timeout:g} s; it goes on")
        if self._trouble is not None:
            raise self._trouble
        if not self._folder.load().state.ended:
            trouble = self._folder.load().trouble
            why = f" ({called(trouble)})" if trouble else ""
            raise JobError(f"job {self.id} does not run{why}; go on with .resume()")
        return self

    def result(self, timeout: float | None = None) -> Results:
        """Wait, then all results in the order of the rows."""
        self.wait(timeout)
        return Results(self._folder, self._folder.load(), self._prices())

    def __await__(self) -> Generator[Any, None, Results]:
        return asyncio.to_thread(self.result).__await__()

    def rows(self) -> Iterator[RowResult]:
        """Results as they come, in the order in which rows are answered, those without an answer last; ends
        with the job.
        """
        results: Results | None = None
        seen = bytearray()
        running = True
        while running:
            running = self._runs(time.monotonic() + _LOOK_S)
            if self._trouble is not None:
                raise self._trouble
            record = self._folder.load()
            if results is None and record.rows is not None:
                # From the beginning of the log on.
                beginning = msgspec.structs.replace(record, answers_bytes=0)
                results, seen = Results(self._folder, beginning, self._prices()), bytearray(record.rows)
            for result in results.more(record) if results is not None else ():
                if not seen[result.index]:
                    seen[result.index] = True
                    yield result
        for result in self.result():
            if not seen or not seen[result.index]:
                yield result

    def retry_failed(self) -> Job:
        """Send the rows again that have no answer, and only those. Raises `JobError` when all have one."""
        self.wait()
        if all(result.ok or result.skipped for result in self.result()):
            raise JobError(f"every row of job {self.id} has its answer; there is nothing to retry")
        self._start(again=True)
        return self

    def cancel(self) -> Job:
        """Stop it for good; what was answered is kept."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._trouble = None
        self._desk.cancel(self._folder, Listener())
        return self

    @property
    def state(self) -> str:
        """Where it is: reading, ready, running, writing, done or cancelled."""
        return self._folder.load().state.value

    @property
    def summary(self) -> dict[str, Any]:
        """The facts: rows, answered, failed, skipped, usage, cost, estimate."""
        return summary(self._folder.load(), called)

    @property
    def cost(self) -> Decimal | None:
        """Dollars spent, None while nothing is known."""
        actual, _ = told_of(self._folder.load())
        return actual.usd if actual else None

    def to_arrow(self) -> pa.Table:
        """Rows with answers as an Arrow table."""
        from bulkrate.toolkit.frames import to_arrow

        return to_arrow(*self._joined())

    def to_polars(self) -> pl.DataFrame:
        """Rows with answers as a Polars frame."""
        from bulkrate.toolkit.frames import to_polars

        frame: pl.DataFrame = to_polars(*self._joined())
        return frame

    def to_pandas(self) -> pd.DataFrame:
        """Rows with answers as a pandas frame."""
        from bulkrate.toolkit.frames import to_pandas

        return to_pandas(*self._joined())

    def __repr__(self) -> str:
        return "\n".join(summary_lines(self._folder.load(), called, None))

    def _repr_html_(self) -> str:
        facts = {name: value for name, value in self.summary.items() if value not in (None, {}, [], 0)}
        rows = "".join(
            f"<tr><th style='text-align:left'>{name}</th><td>{html.escape(str(value))}</td></tr>"
            for name, value in facts.items()
        )
        return f"<table>{rows}</table>"

    def _joined(self) -> tuple[Any, Any]:
        self.wait()
        runner = self._desk.runner(self._folder)
        return runner.result(), runner.shape()

    def _prices(self) -> Prices:
        return self._desk.prices(self._folder.load().spec)

    def _runs(self, until: float | None) -> bool:
        """Whether it is being moved on; waits for that to end, but not beyond `until`."""
        thread = self._thread
        if thread is not None:
            thread.join(None if until is None else max(0.0, until - time.monotonic()))
            if thread.is_alive():
                return True
        if self._trouble is not None or not self._folder.is_driven():
            return False
        time.sleep(_LOOK_S if until is None else max(0.0, min(_LOOK_S, until - time.monotonic())))
        return True

    def _start(self, *, again: bool) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        self._trouble = None
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, args=(again,), name=f"job {self.id}", daemon=True)
        self._thread.start()

    def _run(self, again: bool) -> None:
        shown = _Shown(self._stop, self._progress)
        try:
            self._desk.go_on(self._folder, shown, source=self._source, again=again)
        except _StoppedError:
            pass
        except BaseException as error:  # noqa: BLE001  # told to whoever waits
            self._trouble = error
        finally:
            shown.close()


class _StoppedError(Exception):
    """The job was told to stop."""


class _Shown(Listener):
    """Progress as tqdm shows it, in terminals and notebooks alike."""

    def __init__(self, stop: threading.Event, progress: bool) -> None:
        self._stop = stop
        self._progress = progress
        self._bar: tqdm[Any] | None = None

    def progress(self, progress: Progress) -> None:
        if not self._progress:
            return
        if self._bar is None:
            from tqdm.auto import tqdm

            self._bar = tqdm(total=progress.rows, unit="row", desc=progress.job, leave=False)
        self._bar.set_postfix(failed=progress.failed, in_flight=progress.in_flight, refresh=False)
        self._bar.update(progress.done - self._bar.n)

    def pause(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise _StoppedError

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _watched() -> bool:
    """Whether somebody looks: a terminal, or a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def _told(cell: Any) -> Any:
    return [number * cell.scale for number in numbers(cell)] if isinstance(cell, Vector) else cell

"""A batch at a double: which of its lines have run by a moment of the virtual clock, and how it ended.

Knows nothing of any vendor's wire. Lines run in order, evenly over the time that a job takes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from bulkrate.testing.providers.faults import Faults


class End(Enum):
    """How a job ended."""

    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    FAILED = "failed"


class Fate(Enum):
    """What became of a line."""

    ANSWERED = "answered"
    ERROR = "error"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


@dataclass(slots=True)
class Line:
    """A line as the vendor was given it: `request` is its own body."""

    number: int
    id: str
    request: Any
    text: str
    model: str


@dataclass(slots=True)
class Outcome:
    """A line and what became of it; with `status` and `message` for errors."""

    line: Line
    fate: Fate
    status: int = 200
    message: str = ""


@dataclass(slots=True)
class Job:
    """A batch. `about` is the vendor's own: metadata, names, files."""

    id: str
    created_at: float
    lines: list[Line]
    faults: Faults
    about: dict[str, Any] = field(default_factory=dict)
    cancelled_at: float | None = None
    ended_at: float | None = None
    end: End | None = None
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def validating_until(self) -> float:
        """When it begins to run."""
        return self.created_at + self.faults.validating_s

    @property
    def invalid(self) -> bool:
        """Whether validation refuses it."""
        faults = self.faults
        late = faults.quota_full_late or faults.broke_late
        return faults.invalid or faults.fail_job or late or bool(faults.invalid_lines)

    @property
    def tokens(self) -> int:
        """An estimate of its input tokens: four letters each."""
        return sum(len(line.text) // 4 + 1 for line in self.lines)

    def settle(
        self, now: float, judge: Callable[[Line], tuple[int, str]], bill: Callable[[Line], None]
    ) -> None:
        """Let happen what has happened by `now`.

        `judge` says a line's HTTP status and, for errors, a message; `bill` is told of each line that was
        answered.
        """
        if self.end is not None or now < self.validating_until:
            return
        if self.invalid:
            self._finish(End.FAILED, self.validating_until)
            return
        faults, total = self.faults, len(self.lines)
        share = 1.0 if not faults.slow_s else (now - self.validating_until) / faults.slow_s
        if self.cancelled_at is not None:
            share = min(share, (self.cancelled_at - self.validating_until) / (faults.slow_s or 1.0))
        stops = [stop for stop in (faults.expire_after, faults.cancel_after) if stop is not None]
        stop = min([total, *stops])
        self._run(min(stop, int(total * min(share, 1.0))), judge, bill)
        if self.cancelled_at is not None:
            self._finish(End.CANCELLED, self.cancelled_at)
        elif share >= 1.0:
            end = End.COMPLETED
            if faults.cancel_after is not None and stop == faults.cancel_after:
                end = End.CANCELLED
            elif faults.expire_after is not None and stop == faults.expire_after:
                end = End.EXPIRED
            self._finish(end, self.validating_until + faults.slow_s)

    def _run(
        self, until: int, judge: Callable[[Line], tuple[int, str]], bill: Callable[[Line], None]
    ) -> None:
        for line in self.lines[len(self.outcomes) : until]:
            status, message = judge(line)
            status = self.faults.line_status.get(line.number, status)
            if status == 200:
                bill(line)
                self.outcomes.append(Outcome(line, Fate.ANSWERED))
            else:
                self.outcomes.append(
                    Outcome(line, Fate.ERROR, status, message or "made to fail by the double")
                )

    def _finish(self, end: End, at: float) -> None:
        self.end, self.ended_at = end, at
        if end in {End.EXPIRED, End.CANCELLED}:
            fate = Fate.EXPIRED if end is End.EXPIRED else Fate.CANCELLED
            self.outcomes += [Outcome(line, fate) for line in self.lines[len(self.outcomes) :]]

    def results(self) -> Iterator[Outcome]:
        """The outcomes as the result file has them, with all that is wrong with it."""
        shown = [outcome for outcome in self.outcomes for _ in range(self._times(outcome.line.number))]
        if self.faults.shuffled:
            # The same disorder each time.
            random.Random(self.id).shuffle(shown)  # noqa: S311
        yield from shown

    def _times(self, number: int) -> int:
        if number in self.faults.missing_lines:
            return 0
        return 2 if number in self.faults.doubled_lines else 1

    def count(self, *fates: Fate) -> int:
        """How many lines came to one of these."""
        return sum(outcome.fate in fates for outcome in self.outcomes)

"""What a section found: tables to print, and goals that were met or missed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing import Pool
from typing import Any


@dataclass(frozen=True, slots=True)
class Goal:
    """Something that is to hold, and what was measured."""

    name: str
    measured: float
    low: float = float("-inf")
    high: float = float("inf")

    @property
    def met(self) -> bool:
        return self.low <= self.measured <= self.high

    def __str__(self) -> str:
        if self.high == float("inf"):
            bound = f"at least {self.low:g}"
        elif self.low == float("-inf"):
            bound = f"at most {self.high:g}"
        else:
            bound = f"{self.low:g} to {self.high:g}"
        return f"{'met   ' if self.met else 'MISSED'}  {self.name}: {self.measured:.3g} ({bound})"


@dataclass(slots=True)
class Report:
    """One section."""

    title: str
    lines: list[str] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)

    def table(self, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Add a table; numbers are shown with three digits."""
        self.lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        self.lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]

    def goal(
        self, name: str, measured: float, *, low: float = float("-inf"), high: float = float("inf")
    ) -> None:
        """Add a goal."""
        self.goals.append(Goal(name, measured, low, high))

    def __str__(self) -> str:
        return "\n".join([f"## {self.title}", "", *self.lines, "", *map(str, self.goals), ""])


def measure_all(measure: Callable[[Any], Any], tasks: Sequence[Any], *, quick: bool) -> list[Any]:
    """What `measure` finds for each task, on all cores; a quick run is not worth the processes."""
    if quick:
        return [measure(task) for task in tasks]
    with Pool() as pool:
        return pool.map(measure, tasks, chunksize=1)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}" if abs(value) < 100 else f"{value:,.0f}"
    return str(value)

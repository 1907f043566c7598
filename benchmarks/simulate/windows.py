"""How much of the best fixed window's work each controller gets out of an engine that it knows nothing
about.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from statistics import fmean

from benchmarks.simulate.controllers import Aimd, Fixed, Gradient2, Ours, Vegas
from benchmarks.simulate.engine import Engine
from benchmarks.simulate.gateway import Run, drive
from benchmarks.simulate.hardware import A100_8B, H100X4_70B
from benchmarks.simulate.report import Report, measure_all
from benchmarks.simulate.workloads import CELLS
from bulkrate.core.window import Window

_HARDWARE = (A100_8B, H100X4_70B)
_GRID = (32, 64, 96, 128, 160, 192, 224, 256, 512)
_METRICS, _BLIND = "bulkrate, metrics", "bulkrate, blind"
_OURS: dict[str, Callable[[], Fixed]] = {
    _METRICS: lambda: Ours(Window(maximum=None), metrics=True),
    _BLIND: lambda: Ours(Window(maximum=None), metrics=False),
}
_OTHERS: dict[str, Callable[[], Fixed]] = {
    "fixed 10": lambda: Fixed(10),
    "fixed 64": lambda: Fixed(64),
    "fixed 256": lambda: Fixed(256),
    "fixed 2000": lambda: Fixed(2000),
    "AIMD up to 100": Aimd,
    "Vegas": Vegas,
    "Gradient2": Gradient2,
}
_METRICS_MIN, _BLIND_MIN = 0.97, 0.92
_REACHED, _REACHED_S_MAX = 0.95, 300.0


@dataclass(frozen=True, slots=True)
class _Cell:
    hardware: int
    workload: int
    seed: int
    seconds: float

    @property
    def name(self) -> str:
        return f"{_HARDWARE[self.hardware].name}: {CELLS[self.workload].name}"


@dataclass(frozen=True, slots=True)
class _Outcome:
    share: float
    reached_s: float
    preempted: float
    waiting_most: int


def run(*, seeds: int, quick: bool) -> Report:
    """Four workloads on two kinds of hardware; the others are measured with the first seed only."""
    seconds = 900.0 if quick else 1800.0
    places = [(0, 1), (1, 3)] if quick else [(row, column) for row in (0, 1) for column in range(4)]
    cells = [_Cell(row, column, seed, seconds) for seed in range(1, seeds + 1) for row, column in places]
    found: dict[tuple[str, str], list[_Outcome]] = defaultdict(list)
    tasks = [(cell, quick) for cell in cells]
    for cell, outcomes in zip(cells, measure_all(_measure, tasks, quick=quick), strict=True):
        for controller, outcome in outcomes.items():
            found[cell.name, controller].append(outcome)
    return _report(found, seconds, seeds)


def _measure(task: tuple[_Cell, bool]) -> dict[str, _Outcome]:
    cell, quick = task
    best, steady = 0, 0.0
    for width in _GRID[1::2] if quick else _GRID:
        result = _drive(cell, Fixed(width))
        if result.output_tokens > best:
            best = result.output_tokens
            begun = result.track[len(result.track) // 3]
            steady = (result.track[-1][2] - begun[2]) / (result.track[-1][0] - begun[0])
    controllers = _OURS | _OTHERS if cell.seed == 1 and not quick else _OURS
    outcomes = {}
    for name, make in controllers.items():
        result = _drive(cell, make())
        reached_s = result.reached_at(_REACHED * steady)
        outcomes[name] = _Outcome(
            share=result.output_tokens / best,
            reached_s=float("inf") if reached_s is None else reached_s,
            preempted=result.preemptions / max(1, result.answers),
            waiting_most=result.waiting_most,
        )
    return outcomes


def _drive(cell: _Cell, controller: Fixed) -> Run:
    requests = CELLS[cell.workload].requests(Random(cell.seed))
    engine = Engine(_HARDWARE[cell.hardware])
    return drive(engine, controller, requests, seconds=cell.seconds, random=Random(cell.seed))


def _report(found: dict[tuple[str, str], list[_Outcome]], seconds: float, seeds: int) -> Report:
    report = Report(
        f"Output tokens in {seconds:.0f} s as a share of the best fixed window; worst of {seeds} seeds"
    )
    cells = list(dict.fromkeys(cell for cell, _ in found))
    controllers = [name for name in (*_OTHERS, *_OURS) if (cells[0], name) in found]
    rows = [
        (name, *(min(outcome.share for outcome in found[cell, name]) for cell in cells))
        for name in controllers
    ]
    report.table(("controller", *cells), rows)
    report.lines.append("")
    rows = []
    for name in _OURS:
        for cell in cells:
            outcomes = found[cell, name]
            rows.append(
                (
                    name,
                    cell,
                    fmean(outcome.share for outcome in outcomes),
                    f"{max(outcome.reached_s for outcome in outcomes):.0f} s",
                    f"{max(outcome.preempted for outcome in outcomes):.1%}",
                    max(outcome.waiting_most for outcome in outcomes),
                )
            )
    report.table(("", "cell", "mean", "95 % after", "preemptions per answer", "most waiting"), rows)
    for name, least in ((_METRICS, _METRICS_MIN), (_BLIND, _BLIND_MIN)):
        for cell in cells:
            outcomes = found[cell, name]
            report.goal(f"{name}, {cell}", min(outcome.share for outcome in outcomes), low=least)
            reached_s = max(outcome.reached_s for outcome in outcomes)
            report.goal(f"{name}, {cell}, seconds to 95 %", reached_s, high=_REACHED_S_MAX)
    return report

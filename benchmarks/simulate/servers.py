"""How close a blind window comes to knowing: servers that work on so many requests at once and let the
rest wait.
"""

from __future__ import annotations

from benchmarks.simulate.report import Report, measure_all
from benchmarks.simulate.server import Server, serve
from bulkrate.core.window import Window

_CAPACITIES = (1, 4, 16, 50, 120, 500)
# Service time and spread of its logarithm, seconds of a run, and whether answers tell tokens that go with
# their time.
_KINDS = (
    (0.1, 0.5, 300.0, True),
    (0.5, 1.0, 300.0, False),
    (2.0, 0.5, 600.0, False),
    (5.0, 1.0, 900.0, True),
    (5.0, 1.0, 900.0, False),
)
_LOSS_MAX = 1.10


def run(*, seeds: int, quick: bool) -> Report:
    """Time to the last answer, beside a fixed window of twice the capacity with the same lines."""
    capacities = _CAPACITIES[1:4:2] if quick else _CAPACITIES
    kinds = _KINDS[1:3] if quick else _KINDS
    report = Report(
        f"Servers of some capacity: makespan over that of a well-set window; worst of {seeds} seeds"
    )
    tasks = [(kind, capacity, seeds) for kind in kinds for capacity in capacities]
    worst = dict(zip(tasks, measure_all(_worst, tasks, quick=quick), strict=True))
    rows = []
    for kind in kinds:
        service_s, spread, _, tells = kind
        name = f"{service_s:g} s, spread {spread:g}, {'tokens' if tells else 'no tokens'}"
        rows.append((name, *(worst[kind, capacity, seeds] for capacity in capacities)))
        report.goal(f"makespan, {name}", max(worst[kind, c, seeds] for c in capacities), high=_LOSS_MAX)
    report.table(("service time", *map(str, capacities)), rows)
    return report


def _worst(task: tuple[tuple[float, float, float, bool], int, int]) -> float:
    (service_s, spread, seconds, tells), capacity, seeds = task
    lines = capacity * seconds / service_s
    ratios = []
    for seed in range(1, seeds + 1):
        server = Server(places=capacity, service_s=service_s, spread=spread)
        known = serve(server, 2 * capacity, seed=seed, lines=lines)
        found = serve(server, Window(maximum=None), seed=seed, lines=lines, tells_tokens=tells)
        ratios.append((found.seconds / found.work_s) / (known.seconds / known.work_s))
    return max(ratios)

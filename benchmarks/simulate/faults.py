"""Upstreams with a fault: what is lost beyond what the fault itself costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from benchmarks.simulate.controllers import Fixed, Ours
from benchmarks.simulate.engine import Engine
from benchmarks.simulate.gateway import drive
from benchmarks.simulate.hardware import A100_8B
from benchmarks.simulate.report import Report
from benchmarks.simulate.server import Server, serve
from benchmarks.simulate.workloads import CHAT
from bulkrate.core.window import Window

_SECONDS = 900.0
_SHARE_MIN = 0.85


def run(*, quick: bool) -> Report:
    """Bursts of refusals, a replica that becomes slow, metrics that fall silent."""
    report = Report("Faults: work done, as a share of what the fault left possible")
    healthy = Server(places=100, service_s=1.0, spread=0.5)
    rows: list[tuple[str, float]] = [
        (
            "refuses everything for 5 s of each minute",
            _beside(replace(healthy, sick=lambda now: now % 60 > 55)),
        ),
        (
            "four times as slow from 300 s to 600 s",
            _beside(replace(healthy, slow=lambda now: 4.0 if 300 <= now < 600 else 1.0)),
        ),
        ("half as many places from the beginning", _beside(replace(healthy, places=50))),
    ]
    if not quick:
        rows.append(("metrics fall silent from 60 s to 600 s", _silent((60.0, 600.0))))
        rows.append(("metrics never come", _silent((0.0, 1e9))))
    report.table(("fault", "share"), rows)
    for name, share in rows:
        report.goal(name, share, low=_SHARE_MIN)
    return report


def _beside(server: Server) -> float:
    ours = serve(server, Window(maximum=None), seed=1, seconds=_SECONDS)
    known = serve(server, 200, seed=1, seconds=_SECONDS)
    return ours.work_s / known.work_s


def _silent(between: tuple[float, float]) -> float:
    def tokens(make: Callable[[], Fixed]) -> int:
        requests = CHAT.requests(Random(1))
        return drive(
            Engine(A100_8B), make(), requests, seconds=_SECONDS, random=Random(2), blind_between=between
        ).output_tokens

    return tokens(lambda: Ours(Window(maximum=None), metrics=True)) / tokens(lambda: Fixed(256))

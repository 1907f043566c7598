"""A batch beside people: what they feel, and what the batch gets."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from benchmarks.simulate.controllers import Fixed, Ours
from benchmarks.simulate.engine import Engine, Request
from benchmarks.simulate.gateway import drive
from benchmarks.simulate.hardware import A100_8B
from benchmarks.simulate.report import Report
from benchmarks.simulate.workloads import BATCH, interactive
from bulkrate.core.window import Window

_PEOPLE_PER_S = 2.75
# Beside a target of 64: times what people have alone, first token at p99 and each token at the median; and
# the batch's share of what a flood gets. Beside a target of 32, the first token.
_TTFT_MAX, _TPOT_MAX, _BATCH_MIN, _TTFT_MAX_32 = 1.5, 2.0, 0.6, 1.3


def run(*, quick: bool) -> Report:
    """Policies of one gateway beside the same people on one A100."""
    seconds = 600.0 if quick else 1800.0
    report = Report("Beside interactive traffic (A100, 8B; batch of 600 tokens in, 300 out)")
    policies: list[tuple[str, Fixed, bool]] = [
        ("no batch", Fixed(0), False),
        ("fixed 256", Fixed(256), False),
        ("fixed 256, engine priority", Fixed(256), True),
        ("fixed 16", Fixed(16), False),
        ("fixed 64", Fixed(64), False),
        ("bulkrate, metrics, not shared", Ours(Window(maximum=None), metrics=True), False),
        ("bulkrate, target_running 32", Ours(Window(maximum=None, target_running=32), metrics=True), False),
        ("bulkrate, target_running 64", Ours(Window(maximum=None, target_running=64), metrics=True), False),
        ("bulkrate, target_running 128", Ours(Window(maximum=None, target_running=128), metrics=True), False),
        (
            "bulkrate, target_running 64, engine priority",
            Ours(Window(maximum=None, target_running=64), metrics=True),
            True,
        ),
    ]
    rows: dict[str, tuple[float, float, float, float, float]] = {}
    for name, controller, by_priority in policies:
        people = interactive(Random(5), rate=_PEOPLE_PER_S, seconds=seconds)
        result = drive(
            Engine(A100_8B, by_priority=by_priority),
            controller,
            BATCH.requests(Random(1)),
            seconds=seconds,
            random=Random(2),
            others=people,
        )
        rows[name] = (*_felt(result.others), result.tokens_per_s)
    report.table(
        ("policy", "first token p50 s", "p99 s", "token p50 ms", "p99 ms", "batch tokens/s"),
        [(name, *row) for name, row in rows.items()],
    )
    alone, flood, ours = rows["no batch"], rows["fixed 256"], rows["bulkrate, target_running 64"]
    report.goal("first token at p99, target 64, times alone", ours[1] / alone[1], high=_TTFT_MAX)
    low = rows["bulkrate, target_running 32"]
    report.goal("first token at p99, target 32, times alone", low[1] / alone[1], high=_TTFT_MAX_32)
    report.goal("token at the median, target 64, times alone", ours[2] / alone[2], high=_TPOT_MAX)
    report.goal("batch, target 64, share of a flood", ours[4] / flood[4], low=_BATCH_MIN)
    return report


def _felt(people: Sequence[Request]) -> tuple[float, float, float, float]:
    first = sorted(request.first_token_at - request.sent_at for request in people)
    each = sorted(
        1000 * (request.finished_at - request.first_token_at) / (request.output - 1)
        for request in people
        if request.output > 1
    )
    return (_quantile(first, 0.5), _quantile(first, 0.99), _quantile(each, 0.5), _quantile(each, 0.99))


def _quantile(values: Sequence[float], share: float) -> float:
    return values[min(len(values) - 1, int(share * len(values)))]

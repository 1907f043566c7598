"""The engine model beside what others have measured on real ones."""

from __future__ import annotations

from itertools import islice
from random import Random

from benchmarks.simulate.controllers import Fixed
from benchmarks.simulate.engine import Engine
from benchmarks.simulate.gateway import drive
from benchmarks.simulate.hardware import A100_8B, H100_7B
from benchmarks.simulate.report import Report
from benchmarks.simulate.workloads import SHAREGPT, SWEEP, grouped

# llm-d's sweep of one H100 with Llama-3.1-8B, about 256 tokens out; its prompts are taken to be 256 tokens.
_SWEEP = ((8, 4.2), (128, 35.8), (192, 40.4))
# 5,000 ShareGPT prompts at once on one A100, output tokens a second: SGLang 0.3 and vLLM 0.6.0.
_SHAREGPT = (("SGLang", 4281.5), ("vLLM", 4132.4))
_DEVIATION_MAX = 0.15


def run(*, quick: bool) -> Report:
    """Four published points, and what order alone does to a prefix cache."""
    report = Report("The model beside published measurements (each second)")
    rows = []

    def compare(name: str, published: float, ours: float) -> None:
        rows.append((name, published, ours, f"{ours / published - 1:+.0%}"))
        report.goal(f"deviation, {name}", abs(ours / published - 1), high=_DEVIATION_MAX)

    for width, published in _SWEEP:
        result = drive(
            Engine(H100_7B), Fixed(width), SWEEP.requests(Random(1)), seconds=300, random=Random(2)
        )
        compare(f"H100, {width} in flight", published, result.answers / result.seconds)
    requests = islice(SHAREGPT.requests(Random(1)), 5000)
    result = drive(Engine(A100_8B), Fixed(5000), requests, seconds=3000, random=Random(2))
    for name, published in _SHAREGPT:
        compare(f"A100, ShareGPT, {name}, output tokens", published, result.tokens_per_s)
    report.table(("point", "published", "model", "deviation"), rows)
    if not quick:
        report.lines.append("")
        report.table(("20,000 lines, 2,000 prefixes of 1,500 tokens", "seconds", "hit rate"), _orders())
    return report


def _orders() -> list[tuple[str, float, float]]:
    rows = []
    for name in ("in random order", "sorted by prefix"):
        lines = grouped(Random(3), groups=2000, prefix=1500, suffix=300, output=100, total=20_000)
        if name == "sorted by prefix":
            lines.sort(key=lambda request: request.segments)
        engine = Engine(A100_8B)
        result = drive(engine, Fixed(300), iter(lines), seconds=30_000, random=Random(2))
        rows.append((name, result.seconds, engine.hit_tokens / engine.prompt_tokens))
    return rows

"""`python -m benchmarks.simulate`: every table and goal; exits with 1 when a goal is missed."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from benchmarks.simulate import faults, quotas, servers, shared, validate, windows
from benchmarks.simulate.report import Report


def reports(*, seeds: int, quick: bool) -> dict[str, Callable[[], Report]]:
    """The sections by name, each to be run."""
    return {
        "validate": lambda: validate.run(quick=quick),
        "windows": lambda: windows.run(seeds=seeds, quick=quick),
        "servers": lambda: servers.run(seeds=seeds, quick=quick),
        "shared": lambda: shared.run(quick=quick),
        "quotas": lambda: quotas.run(seeds=seeds, quick=quick),
        "faults": lambda: faults.run(quick=quick),
    }


def main() -> int:
    """Run what was asked for and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulate", description=__doc__)
    parser.add_argument("--only", choices=sorted(reports(seeds=1, quick=True)), action="append")
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds (5)")
    parser.add_argument("--quick", action="store_true", help="a small form of it, in half a minute")
    asked = parser.parse_args()
    missed = 0
    for name, run in reports(seeds=1 if asked.quick else asked.seeds, quick=asked.quick).items():
        if asked.only and name not in asked.only:
            continue
        began = time.monotonic()
        report = run()
        print(report, flush=True)
        print(f"({name}: {time.monotonic() - began:.0f} s)\n", flush=True)
        missed += sum(not goal.met for goal in report.goals)
    print(f"{missed} goals missed" if missed else "all goals met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

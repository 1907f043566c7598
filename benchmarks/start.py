"""How long one waits before anything happens: `bulkrate --help`, and `import bulkrate` in a program.

A bare interpreter and one that loads Typer, on which the command line stands, start in turns with them: the
floors that no code of ours can go below.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks import processes
from benchmarks.figures import compare, tell

HELP_LIMIT_S = 0.2
IMPORT_LIMIT_S = 0.15
_SECONDS_MAX = 120


@dataclass
class Started:
    """A command, and what each of its starts took."""

    command: list[str]
    #: Seconds on the clock.
    wall: list[float] = field(default_factory=list)
    #: Seconds of processor time, user and system: not stretched by what else the machine does.
    processor: list[float] = field(default_factory=list)

    def start(self) -> None:
        """Run it once."""
        began = time.perf_counter()
        process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        self.wall.append(time.perf_counter() - began)
        self.processor.append(used.ru_utime + used.ru_stime)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, self.command


def main() -> None:
    """Measure."""
    parser = processes.options_of(__doc__, "start")
    parser.add_argument("--rounds", type=int, default=20)
    processes.run(measure, parser, seconds_max=_SECONDS_MAX)


def measure(options: argparse.Namespace) -> None:
    """All of them in turns; the first round, which reads files from the disk, does not count."""
    bare, typer, ours, shown = (
        Started([sys.executable, "-c", ""]),
        Started([sys.executable, "-c", "import typer"]),
        Started([sys.executable, "-c", "import bulkrate"]),
        Started([str(Path(sys.executable).with_name("bulkrate")), "--help"]),
    )
    for _ in range(options.rounds + 1):
        for one in (bare, typer, ours, shown):
            one.start()
    _tell("import bulkrate", ours, IMPORT_LIMIT_S, "an interpreter alone", bare)
    _tell("bulkrate --help", shown, HELP_LIMIT_S, "`import typer` alone", typer)


def _tell(what: str, one: Started, limit_s: float, peer: str, floor: Started) -> None:
    for how, figure in (("median", median), ("best", min)):
        used = f"{figure(one.processor[1:]) * 1000:.0f} ms of processor time"
        tell(f"{what}, {how}", figure(one.wall[1:]) * 1000, "ms", limit=limit_s * 1000, also=used)
    least = min(one.processor[1:]) * 1000
    compare(f"{what}, processor time", least, "ms", peer=peer, against=min(floor.processor[1:]) * 1000)


if __name__ == "__main__":
    main()

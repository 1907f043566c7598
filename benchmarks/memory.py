"""Peak memory of the server's three processes, for batches of a thousand lines to a million.

Each size gets a fresh server. Anonymous memory (what a process has for itself, without the code it shares
with others) is sampled while the batch is uploaded, run and read back; VmHWM is the kernel's own record of
the peak, shared code included. The claim is about growth: from the smallest to the largest batch, the three
together grow by less than the limit.
"""

from __future__ import annotations

import argparse
import re
import threading
import time
from pathlib import Path

from tests.support.processes import Server

from benchmarks import processes
from benchmarks.api import Api, write_input
from benchmarks.figures import tell

GROWTH_MB_MAX = 100
_SECONDS_MAX = 3_600
_SAMPLE_S = 0.05


def main() -> None:
    """Measure."""
    parser = processes.options_of(__doc__, "memory")
    parser.add_argument("--lines", type=int, nargs="+", default=[1_000, 100_000, 1_000_000])
    processes.add_upstream_option(parser)
    processes.run(measure, parser, seconds_max=_SECONDS_MAX)


def measure(options: argparse.Namespace) -> None:
    """One batch of each size, each on a fresh server."""
    totals = []
    with processes.upstream(options.upstream) as url:
        print("  peaks in MB: anonymous memory of each process and of all at one moment; VmHWM of each")
        print(f"  {'lines':>9}  {'server':>7} {'clerk':>7} {'sender':>7} {'all':>7}   VmHWM", flush=True)
        for lines in options.lines:
            with processes.folder() as folder:
                totals.append(measure_one(folder, url, lines))
    growth = totals[-1] - totals[0]
    sizes = f"{options.lines[0]:,} to {options.lines[-1]:,} lines"
    tell(f"growth, {sizes}", growth, "MB", limit=GROWTH_MB_MAX)


def measure_one(folder: Path, url: str, lines: int) -> float:
    """Upload, run and read back one batch; the peak of the three processes together, in MB."""
    path = write_input(folder / "input.jsonl", lines)
    with processes.server(folder / "data", url) as server, Api(server.port) as api:
        pids = pids_of(server)
        with Peaks(pids) as peaks:
            batch = api.wait(api.create(api.upload(path)), every_s=0.2, within_s=_SECONDS_MAX)
            api.download(batch["output_file_id"])
        marks = [status_mb(pid, "VmHWM") for pid in pids]
    each = " ".join(f"{mb:7.1f}" for mb in peaks.each)
    shown = " + ".join(f"{mb:.0f}" for mb in marks)
    print(f"  {lines:>9,}  {each} {peaks.together:7.1f}   {shown} = {sum(marks):.0f}", flush=True)
    return peaks.together


class Peaks:
    """Samples the anonymous memory of some processes while entered."""

    def __init__(self, pids: list[int]) -> None:
        self.each = [0.0] * len(pids)
        self.together = 0.0
        self._pids = pids
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Peaks:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._over.wait(_SAMPLE_S):
            now = [status_mb(pid, "RssAnon") for pid in self._pids]
            self.each = [max(pair) for pair in zip(self.each, now, strict=True)]
            self.together = max(self.together, sum(now))


def pids_of(server: Server) -> list[int]:
    """The server, the clerk and the sender, once all have started."""
    for role in ("clerk", "sender-0"):
        server.wait_for_log(f"process_started role={role} ")
    time.sleep(1)  # their imports, so that the smallest batch is not measured on half a process
    return [server.popen.pid, server.child("clerk"), server.child("sender-0")]


def status_mb(pid: int, name: str) -> float:
    """A figure of /proc/PID/status."""
    found = re.search(
        rf"^{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="ascii"), re.MULTILINE
    )
    assert found is not None, f"process {pid} has ended"
    return int(found[1]) / 1024


if __name__ == "__main__":
    main()

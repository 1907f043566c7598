"""Rows to answers: how fast `bulkrate run` is beside the engine alone, from CSV to CSV, and in what memory.

Each size is run by the command on a fresh server, then as a plain batch of as many lines on the same server.
The command's peak (VmHWM, as the kernel counted it) is claimed not to grow with the rows but for seventeen
bytes each, the index of its answers.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import processes
from benchmarks.api import Api, write_input
from benchmarks.figures import compare, tell

GROWTH_MB_MAX = 60
_SECONDS_MAX = 3_600


def main() -> None:
    """Measure."""
    parser = processes.options_of(__doc__, "rows")
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    processes.add_upstream_option(parser)
    processes.run(measure, parser, seconds_max=_SECONDS_MAX)


def measure(options: argparse.Namespace) -> None:
    """Each size by the command and by the engine alone."""
    peaks = []
    with processes.upstream(options.upstream) as url:
        for rows in options.rows:
            with processes.folder() as folder, processes.server(folder / "data", url) as server:
                seconds, peak_mb = run_command(folder, server.url, rows)
                alone = run_alone(folder, server.port, rows)
            peaks.append(peak_mb)
            compare(
                f"{rows:,} rows by the command",
                rows / seconds,
                "rows/s",
                peer="the engine",
                against=rows / alone,
            )
            print(f"  its peak: {peak_mb:,.0f} MB", flush=True)
    sizes = f"{options.rows[0]:,} to {options.rows[-1]:,} rows"
    tell(f"growth, {sizes}", peaks[-1] - peaks[0], "MB", limit=GROWTH_MB_MAX)


def run_command(folder: Path, url: str, rows: int) -> tuple[float, float]:
    """Seconds of the whole command, and its peak in MB."""
    source, output = folder / "rows.csv", folder / "answers.csv"
    with source.open("w", encoding="ascii", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        writer.writerows([number, f"a short review with the number {number}"] for number in range(rows))
    words = ["run", str(source), "-p", "Good or bad? {{ text }}", "-m", "m", "-o", str(output)]
    place = ["--server", url, "--data", str(folder / "state"), "--quiet"]
    began = time.perf_counter()
    with (folder / "told").open("wb") as told:
        command = subprocess.Popen(  # our own package
            [sys.executable, "-m", "bulkrate", *words, *place], stdout=told, stderr=told
        )
        _, status, used = os.wait4(command.pid, 0)
        command.returncode = os.waitstatus_to_exitcode(status)
    assert command.returncode == 0, (folder / "told").read_text()
    return time.perf_counter() - began, used.ru_maxrss / 1024


def run_alone(folder: Path, port: int, rows: int) -> float:
    """Seconds of a batch of as many lines, from its upload to its output."""
    path = write_input(folder / "input.jsonl", rows)
    began = time.perf_counter()
    with Api(port) as api:
        batch = api.wait(api.create(api.upload(path)), every_s=0.2, within_s=_SECONDS_MAX)
        api.download(batch["output_file_id"])
    return time.perf_counter() - began


if __name__ == "__main__":
    main()

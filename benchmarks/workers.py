"""Whether throughput grows with the processes that send, when there is more than one upstream.

The same batch goes through the same two upstreams, with one sender that drives both and with two that drive
one each, in turns. What two processes can win at all on this machine, upstreams included, is measured in the
same run: our client alone, in one process and in two, against the same upstreams.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import uvloop

from benchmarks import drive, processes
from benchmarks.api import Api, warm_up, write_input
from benchmarks.figures import compare

IN_FLIGHT = 256
_SECONDS_MAX = 900
_POLL_S = 0.1


def main() -> None:
    """Measure."""
    parser = processes.options_of(__doc__, "workers")
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    processes.add_upstream_option(parser)
    processes.run(measure, parser, seconds_max=_SECONDS_MAX)


def measure(options: argparse.Namespace) -> None:
    """One and two, in turns; the medians."""
    with (
        processes.folder() as folder,
        processes.upstream(options.upstream) as first,
        processes.upstream(options.upstream) as second,
        ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool,
    ):
        urls = (first, second)
        path = write_input(folder / "input.jsonl", options.lines)
        rates: dict[tuple[str, int], list[float]] = {}
        for _ in range(options.rounds):
            for workers in (1, 2):
                rates.setdefault(("batch", workers), []).append(batch(folder, path, urls, workers))
                rates.setdefault(("client", workers), []).append(alone(pool, path, urls, workers))
    gains = {}
    for what, said in (("client", "our client alone"), ("batch", "batch")):
        one, two = (median(rates[what, workers]) for workers in (1, 2))
        gains[what] = two / one
        compare(f"{said}, two processes", two, "lines/s", peer="one process", against=one)
    compare("gain of the batch", gains["batch"], "times", peer="our client's gain", against=gains["client"])


def batch(folder: Path, path: Path, urls: Sequence[str], workers: int) -> float:
    """Lines a second, from create to completed, with so many senders."""
    data = folder / f"data-{time.monotonic_ns()}"
    with processes.server(data, *urls, max_in_flight=IN_FLIGHT // 2, workers=workers) as server:
        with Api(server.port) as api:
            file_id = api.upload(path)
            warm_up(api, folder)
        with Api(server.port) as api:
            began = time.monotonic()
            api.wait(api.create(file_id), every_s=_POLL_S, within_s=_SECONDS_MAX)
            return len(path.read_bytes().splitlines()) / (time.monotonic() - began)


def alone(pool: ProcessPoolExecutor, path: Path, urls: Sequence[str], workers: int) -> float:
    """Lines a second of so many processes that only send, as many lines in flight together."""
    return sum(pool.map(_drive, urls[:workers], [path] * workers, range(workers), [workers] * workers))


def _drive(url: str, path: Path, number: int, workers: int) -> float:
    bodies = drive.bodies_of(path)[number::workers]
    return uvloop.run(drive.by_our_client(url, bodies, in_flight=IN_FLIGHT // workers)).lines_per_s


if __name__ == "__main__":
    main()

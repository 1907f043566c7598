"""How much of an upstream's capacity is used: the time of a batch against the time that cannot be beaten.

The upstream is the sandbox. It works on so many requests at once and draws the time of each answer from a
log-normal with a heavy tail, out of the request's body: so they are known here, and with them the ideal: a
sender that fills a free place at once, in the order of the lines. Its time is the total work divided by the
capacity, and a tail while the last lines run and nothing is left to fill the places they free.

- configured: `max_in_flight` is the capacity
- found: nothing is configured, and bulkrate has to find out how much the upstream takes
- one worker, 4,096 in flight: answers take some ten seconds, and one sender holds them all
"""

from __future__ import annotations

import argparse
import hashlib
import heapq
import json
import resource
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.processes import Process, Server, running, sandbox

from benchmarks import processes
from benchmarks.api import Api, warm_up, write_input
from benchmarks.drive import bodies_of
from benchmarks.figures import tell
from benchmarks.memory import Peaks
from bulkrate.sandbox.limits import Latency

BEYOND_IDEAL_CONFIGURED_MAX = 0.05
BEYOND_IDEAL_FOUND_MAX = 0.10
_SECONDS_MAX = 1_800
_SEED = 7
_MANY_IN_FLIGHT = 4_096
_MANY_LATENCY_MS = 10_000.0
# Enough that answers do not come all at one moment, which would measure how fast the sandbox can write them.
_MANY_SPREAD = 0.2
_MANY_WAVES = 3
# Sockets of the many in flight, and what a process has open besides.
_FILES = 2 * _MANY_IN_FLIGHT


def main() -> None:
    """Measure."""
    parser = processes.options_of(__doc__, "utilisation")
    parser.add_argument("--capacity", type=int, default=64)
    parser.add_argument("--lines", type=int, default=10_000)
    parser.add_argument("--latency-ms", type=float, default=200.0, help="the mean")
    parser.add_argument("--latency-spread", type=float, default=1.0, help="sigma of the log-normal")
    parser.add_argument("--only", choices=("configured", "found", "many"), help="one of the three")
    processes.run(measure, parser, seconds_max=_SECONDS_MAX)


def measure(options: argparse.Namespace) -> None:
    """The three, one after another."""
    if options.only in {None, "configured"}:
        configured(options)
    if options.only in {None, "found"}:
        found(options)
    if options.only in {None, "many"}:
        many()


def configured(options: argparse.Namespace) -> None:
    """With `max_in_flight` at the capacity."""
    with upstream(options) as place, processes.folder() as folder:
        run = batch(folder, place, options.lines, max_in_flight=options.capacity)
    report("configured", run, ideal_of(run, options), limit=BEYOND_IDEAL_CONFIGURED_MAX)


def found(options: argparse.Namespace) -> None:
    """With nothing configured."""
    with upstream(options) as place, processes.folder() as folder:
        run = batch(folder, place, options.lines, max_in_flight=None)
    report("found", run, ideal_of(run, options), limit=BEYOND_IDEAL_FOUND_MAX)


def many() -> None:
    """One worker with 4,096 in flight, at ten seconds each."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < _FILES:
        print(f"skipped   4,096 in flight: a process may open {hard} files here, and {_FILES} are needed")
        return
    shape = argparse.Namespace(
        capacity=_MANY_IN_FLIGHT, latency_ms=_MANY_LATENCY_MS, latency_spread=_MANY_SPREAD
    )
    with upstream(shape) as place, processes.folder() as folder:
        run = batch(folder, place, _MANY_WAVES * _MANY_IN_FLIGHT, max_in_flight=_MANY_IN_FLIGHT)
    report("4,096 in flight", run, ideal_of(run, shape), limit=BEYOND_IDEAL_CONFIGURED_MAX)
    print(
        f"  {'':<38} the sender's own memory: {run.sender_mb:.0f} MB at most; processor seconds: sender"
        f" {run.sender_cpu_s:.1f}, sandbox {run.upstream_cpu_s:.1f}",
        flush=True,
    )


@dataclass(frozen=True)
class Run:
    """A batch, and what was seen of it: `in_flight_max` by the upstream. Memory is anonymous memory."""

    took_s: float
    bodies: list[bytes]
    in_flight_max: int
    sender_mb: float
    sender_cpu_s: float
    upstream_cpu_s: float


@dataclass(frozen=True)
class Ideal:
    """Seconds that a batch takes at least: all the work spread evenly, and the tail beyond that."""

    work_s: float
    tail_s: float

    @property
    def whole_s(self) -> float:
        """Both."""
        return self.work_s + self.tail_s


@contextmanager
def upstream(options: argparse.Namespace) -> Iterator[Process]:
    """A sandbox with a capacity; more requests wait in its queue, as at an inference server."""
    flags = {
        "--capacity": options.capacity,
        "--latency-ms": options.latency_ms,
        "--latency-spread": options.latency_spread,
        "--seed": _SEED,
    }
    with running(sandbox(*(str(part) for pair in flags.items() for part in pair))) as process:
        yield process


def batch(folder: Path, place: Process, lines: int, *, max_in_flight: int | None) -> Run:
    """Run lines that are all different, and watch."""
    path = numbered(write_input(folder / "equal.jsonl", lines), folder / "input.jsonl")
    server: Server
    with processes.server(folder / "data", place.url, max_in_flight=max_in_flight) as server:
        sender = processes.roles_of(server)["sender"]
        with Api(server.port) as api:
            warm_up(api, folder)
            file_id = api.upload(path)
        before = processes.cpu_s(sender), processes.cpu_s(place.popen.pid)
        with Api(server.port) as api, Peaks([sender]) as peaks:
            began = time.monotonic()
            api.wait(api.create(file_id), every_s=0.1, within_s=_SECONDS_MAX)
            took = time.monotonic() - began
        return Run(
            took_s=took,
            bodies=bodies_of(path),
            in_flight_max=int(stats_of(place)["in_flight_max"]),
            sender_mb=peaks.together,
            sender_cpu_s=processes.cpu_s(sender) - before[0],
            upstream_cpu_s=processes.cpu_s(place.popen.pid) - before[1],
        )


def numbered(equal: Path, path: Path) -> Path:
    """The same lines with a number in each prompt: the sandbox draws equal times for equal bodies."""
    with equal.open(encoding="utf-8") as source, path.open("w", encoding="utf-8") as target:
        for number, line in enumerate(source):
            request = json.loads(line)
            request["body"]["messages"][0]["content"] += f" ({number})"
            target.write(json.dumps(request) + "\n")
    return path


def stats_of(place: Process) -> Any:
    """What the sandbox counted."""
    with urllib.request.urlopen(f"{place.root}/stats", timeout=30) as answer:
        return json.load(answer)


def ideal_of(run: Run, options: argparse.Namespace) -> Ideal:
    """The ideal for the times that the sandbox drew."""
    latency = Latency(_SEED, options.latency_ms, options.latency_spread)
    drawn = [latency.seconds(hashlib.sha256(body).digest()) for body in run.bodies]
    return ideal_makespan(drawn, options.capacity)


def ideal_makespan(times: Iterable[float], places: int) -> Ideal:
    """Each line begins, in order, at the moment that a place is free."""
    free = [0.0] * places
    work = 0.0
    for seconds in times:
        work += seconds
        heapq.heapreplace(free, free[0] + seconds)
    return Ideal(work / places, max(free) - work / places)


def report(what: str, run: Run, ideal: Ideal, *, limit: float) -> None:
    """The time of a batch against the ideal."""
    beyond = run.took_s - ideal.whole_s
    tell(f"{what}: beyond the ideal", beyond, "s", limit=limit * ideal.whole_s)
    said = (
        f"{len(run.bodies):,} lines took {run.took_s:.1f} s",
        f"{beyond / ideal.whole_s:.1%} beyond {ideal.whole_s:.1f} s",
        f"which are {ideal.work_s:.1f} s of work and {ideal.tail_s:.1f} s of tail",
        f"{run.in_flight_max:,} were in flight at most",
    )
    print(f"  {'':<38} {'; '.join(said)}", flush=True)


if __name__ == "__main__":
    main()

"""Lines a second of a durable batch, from create to completed, and what the same machine allows without one.

Everything is driven against the same upstream in the same run, in turns, and the medians are compared:

- the machine: a load generator written in C (wrk, else ab) with as many connections as we have in flight
- the library: pyreqwest, one of the fastest HTTP clients for Python, with the same bodies, read beforehand,
  the same number in flight, and the answers thrown away
- our client: the same with the client of bulkrate's dispatcher, which speaks plain HTTP without a library
- peers: other tools for the same job, in environments of their own; see `python -m benchmarks.peers`.

The batch validates every line first, writes every answer to the disk, syncs and counts it; what that costs
is the distance from our client. Lines a second go with whatever else the machine does; processor seconds
for a thousand lines hardly do, and are told for each process.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from statistics import median

import uvloop

from benchmarks import drive, processes
from benchmarks.api import Api, warm_up, write_input
from benchmarks.figures import aim, compare
from benchmarks.peers.compare import compare_all

LINES_PER_S_MIN = 15_000
OF_THE_LIBRARY_MIN = 0.7
IN_FLIGHT = 256
_SECONDS_MAX = 1_800
_GENERATOR_S = 5
# Asking how a batch is getting on takes from it; the end is then known so late at most.
_POLL_S = 0.25


def main() -> None:
    """Measure."""
    parser = processes.options_of(__doc__, "throughput")
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--in-flight", type=int, default=IN_FLIGHT, help="0 lets bulkrate find out by itself")
    parser.add_argument("--no-peers", action="store_true", help="leave the other tools out")
    processes.add_upstream_option(parser)
    processes.run(measure, parser, seconds_max=_SECONDS_MAX)


def measure(options: argparse.Namespace) -> None:
    """All of them in turns, then the peers."""
    with processes.folder() as folder, processes.upstream(options.upstream) as url:
        path = write_input(folder / "input.jsonl", options.lines)
        bodies = drive.bodies_of(path)
        in_flight = options.in_flight or IN_FLIGHT
        generator = drive.load_generator()
        if generator is None:
            print("skipped   the machine's limit: neither wrk nor ab is installed (apt-get install wrk)")
        machine: list[float] = []
        library: list[drive.Driven] = []
        bare: list[drive.Driven] = []
        batch: list[float] = []
        cpu: dict[str, list[float]] = {}
        with processes.server(folder / "data", url, max_in_flight=options.in_flight or None) as server:
            with Api(server.port) as api:
                file_id = api.upload(path)
                warm_up(api, folder)
            pids = processes.roles_of(server)
            for number in range(1, options.rounds + 1):
                if generator is not None:
                    rate = drive.by_load_generator(
                        generator, url, bodies[0], folder, in_flight=in_flight, seconds=_GENERATOR_S
                    )
                    machine.append(rate)
                library.append(uvloop.run(drive.by_library(url, bodies, in_flight=in_flight)))
                bare.append(uvloop.run(drive.by_our_client(url, bodies, in_flight=in_flight)))
                before = {role: processes.cpu_s(pid) for role, pid in pids.items()}
                with Api(server.port) as api:
                    began = time.monotonic()
                    api.wait(api.create(file_id), every_s=_POLL_S, within_s=_SECONDS_MAX)
                    batch.append(options.lines / (time.monotonic() - began))
                for role, pid in pids.items():
                    used = processes.cpu_s(pid) - before[role]
                    cpu.setdefault(role, []).append(used / options.lines * 1000)
                compare(
                    f"round {number}",
                    batch[-1],
                    "lines/s",
                    peer="the library alone",
                    against=library[-1].lines_per_s,
                )
        tell_all(batch, machine, library, bare, cpu)
        if not options.no_peers:
            compare_all(folder, url)


def tell_all(
    batch: Sequence[float],
    machine: Sequence[float],
    library: Sequence[drive.Driven],
    bare: Sequence[drive.Driven],
    cpu: Mapping[str, Sequence[float]],
) -> None:
    """The medians, against each other and against what we aim at."""
    ours = median(batch)
    client = median(driven.lines_per_s for driven in library)
    aim("batch", ours, "lines/s", goal=LINES_PER_S_MIN)
    if machine:
        compare("batch", ours, "lines/s", peer="the machine's limit", against=median(machine))
    alone = median(driven.lines_per_s for driven in bare)
    compare("batch", ours, "lines/s", peer="our client alone", against=alone)
    compare("batch", ours, "lines/s", peer="the library alone", against=client)
    aim("batch, of the library alone", ours / client * 100, "%", goal=OF_THE_LIBRARY_MIN * 100)
    used = {role: median(seconds) for role, seconds in cpu.items()}
    used["library alone"] = median(driven.cpu_s_per_1000 for driven in library)
    used["our client alone"] = median(driven.cpu_s_per_1000 for driven in bare)
    told = ", ".join(f"{role} {seconds:.3f}" for role, seconds in used.items())
    print(f"  processor seconds for 1,000 lines      {told}", flush=True)


if __name__ == "__main__":
    main()

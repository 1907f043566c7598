"""Lines a second of a durable batch, from create to completed, against the same upstream driven directly.

The direct drive is what a script of one's own would do: the same HTTP client, the same number of requests in
flight, the same bodies, and the answers thrown away. The batch validates every line first, writes every
answer to the disk, syncs and counts it; what that costs is the distance from 1. Both are run in turns, and
the medians are compared.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from pathlib import Path
from statistics import median

import uvloop

from benchmarks import processes
from benchmarks.api import Api, warm_up, write_input
from benchmarks.figures import compare
from bulkrate.config import Limits, Upstream
from bulkrate.dispatch.client import Client

_SECONDS_MAX = 1_800


def main() -> None:
    """Measure."""
    parser = processes.options_of(__doc__, "throughput")
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    processes.add_upstream_option(parser)
    processes.run(measure, parser, seconds_max=_SECONDS_MAX)


def measure(options: argparse.Namespace) -> None:
    """Drive directly and as a batch, in turns."""
    with processes.folder() as folder, processes.upstream(options.upstream) as url:
        path = write_input(folder / "input.jsonl", options.lines)
        direct, batch = [], []
        with processes.server(folder / "data", url) as server, Api(server.port) as api:
            file_id = api.upload(path)
            warm_up(api, folder)
            for number in range(1, options.rounds + 1):
                direct.append(options.lines / uvloop.run(drive(url, path)))
                began = time.monotonic()
                api.wait(api.create(file_id), every_s=0.05, within_s=_SECONDS_MAX)
                batch.append(options.lines / (time.monotonic() - began))
                peer = "driving it directly"
                compare(f"round {number}", batch[-1], "lines/s", peer=peer, against=direct[-1])
        compare("median", median(batch), "lines/s", peer=peer, against=median(direct))


async def drive(url: str, path: Path) -> float:
    """Send every body of an input file to the upstream; the seconds it took."""
    upstream = Upstream(url=url)
    client = Client(upstream, answer_bytes_max=Limits().answer_bytes_max)
    with path.open("rb") as source:

        async def send_lines() -> None:
            for line in source:
                answer = await client.post(
                    "/v1/chat/completions", json.dumps(json.loads(line)["body"]).encode()
                )
                assert answer.status == 200, answer

        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for _ in range(upstream.max_in_flight):
                group.create_task(send_lines())
        took = time.monotonic() - began
    await client.close()
    return took


if __name__ == "__main__":
    main()

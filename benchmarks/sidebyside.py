"""Whether batches wait for each other.

First a thousand small batches of twenty lines, created at once: alone, and again while a big batch is
running. How much longer the thousand take, how long after its creation each has its first answer and has
ended, and what is left of the big one's speed. Served one after another, each small one would wait for the
big one to end.

Then two models at one upstream of 64 slots, one of which answers at once or in a tenth of a second, the other
in two seconds: how long the fast model's batch takes beside the slow one, against its time alone. The slow
one has all slots when it comes, and up to two seconds pass until the first is free. From then on they share
the slots equally, so twice the time is what is fair; had the fast one to wait for the slow one's answers, the
ratio would be ten and more.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import processes
from benchmarks.api import ENDED, Api, warm_up, write_input
from benchmarks.figures import compare

SLOW_MS = 2_000
FAST_MS = (0, 100)
SLOTS = 64
_SECONDS_MAX = 1_800
_BATCH_S_MAX = 600
_CREATORS = 8
_ALONE_S = 4.0
_LOOK_S = 0.1
_PAGE = 100


def main() -> None:
    """Measure."""
    parser = processes.options_of(__doc__, "sidebyside")
    parser.add_argument("--batches", type=int, default=1_000)
    parser.add_argument("--lines", type=int, default=20, help="of each small batch")
    parser.add_argument("--big", type=int, default=1_000_000, help="lines of the big batch")
    parser.add_argument("--fast", type=int, default=5_000, help="lines of the fast model's batch")
    processes.add_upstream_option(parser)
    processes.run(measure, parser, seconds_max=_SECONDS_MAX)


def measure(options: argparse.Namespace) -> None:
    """Both, each on a server of its own."""
    with processes.folder() as folder, processes.upstream(options.upstream) as url:
        many_beside_a_big_one(folder, url, options)
    for answer_ms in FAST_MS:
        with processes.folder() as folder, processes.upstream("sandbox") as url:
            fast_beside_slow(folder, url, options.fast, answer_ms=answer_ms)


def many_beside_a_big_one(folder: Path, url: str, options: argparse.Namespace) -> None:
    """A thousand small batches alone, and while a big one runs."""
    small = write_input(folder / "small.jsonl", options.lines)
    big = write_input(folder / "big.jsonl", options.big)
    with processes.server(folder / "data", url) as server, Api(server.port) as api:
        warm_up(api, folder)
        alone = many(api, server.port, api.upload(small), options.batches)

        big_id = api.create(api.upload(big))
        small_id = api.upload(small)
        while not done(api, big_id):
            time.sleep(_LOOK_S)
        before = done(api, big_id)
        time.sleep(_ALONE_S)
        speed_alone = (done(api, big_id) - before) / _ALONE_S

        before = done(api, big_id)
        beside = many(api, server.port, small_id, options.batches)
        speed = (done(api, big_id) - before) / beside.whole_s
        assert api.get(f"/v1/batches/{big_id}")["status"] == "in_progress", "too small; raise --big"

    compare("the thousand beside the big one", beside.whole_s, "s", peer="alone", against=alone.whole_s)
    for what, waits in (("first answer", beside.first_s), ("ended", beside.ended_s)):
        for name, figure in (("median", median(waits)), ("slowest", max(waits))):
            compare(f"{what} after create, {name}", figure, "s", peer="the whole", against=beside.whole_s)
    compare("the big one beside them", speed, "lines/s", peer="alone", against=speed_alone)


@dataclass(frozen=True)
class Run:
    """How many batches fared, in seconds: together from the first create on, and each from its own."""

    whole_s: float
    first_s: list[float]
    ended_s: list[float]


def many(api: Api, port: int, file_id: str, number: int) -> Run:
    """Create many batches of one file at once, and watch them to their end."""
    began = time.monotonic()
    with ThreadPoolExecutor(_CREATORS) as pool:
        creating = pool.map(lambda _: create(port, file_id), range(number))
        first, ended = watch(api, file_id, number)
        created = dict(creating)
    return Run(
        whole_s=max(ended.values()) - began,
        first_s=[first[batch_id] - at for batch_id, at in created.items()],
        ended_s=[ended[batch_id] - at for batch_id, at in created.items()],
    )


def create(port: int, file_id: str) -> tuple[str, float]:
    """Begin a batch on a connection of its own; its id, and when that was answered."""
    with Api(port) as api:
        return api.create(file_id), time.monotonic()


def watch(api: Api, file_id: str, number: int) -> tuple[dict[str, float], dict[str, float]]:
    """Look through the list until `number` batches of this file have ended: when each was first seen to have
    an answer, and to have ended.
    """
    first: dict[str, float] = {}
    ended: dict[str, float] = {}
    deadline = time.monotonic() + _BATCH_S_MAX
    while len(ended) < number:
        assert time.monotonic() < deadline, f"{len(ended)} of {number} ended within {_BATCH_S_MAX} s"
        for batch in listed(api, number):
            if batch["input_file_id"] != file_id:
                continue
            now = time.monotonic()
            if batch["request_counts"]["completed"]:
                first.setdefault(batch["id"], now)
            if batch["status"] in ENDED:
                ended.setdefault(batch["id"], now)
        time.sleep(_LOOK_S)
    return first, ended


def listed(api: Api, number: int) -> Iterator[dict[str, Any]]:
    """The newest `number` batches."""
    after = ""
    for _ in range(0, number, _PAGE):
        page = api.get(f"/v1/batches?limit={_PAGE}{after}")
        yield from page["data"]
        if not page["has_more"]:
            return
        after = f"&after={page['last_id']}"


def fast_beside_slow(folder: Path, url: str, lines: int, *, answer_ms: int) -> None:
    """The batch of a fast model, alone and beside one of a slow model."""
    fast = write_input(
        folder / "fast.jsonl", lines, model="fast", text=f"[[sandbox:sleep_ms={answer_ms}]] hello"
    )
    slow = write_input(
        folder / "slow.jsonl", lines, model="slow", text=f"[[sandbox:sleep_ms={SLOW_MS}]] hello"
    )
    with processes.server(folder / "data", url, max_in_flight=SLOTS) as server, Api(server.port) as api:
        warm_up(api, folder)
        fast_id, slow_id = api.upload(fast), api.upload(slow)
        alone = timed(api, fast_id)
        slow_batch = api.create(slow_id)
        while not done(api, slow_batch):
            time.sleep(_LOOK_S)
        beside = timed(api, fast_id)
        assert api.get(f"/v1/batches/{slow_batch}")["status"] == "in_progress", (
            "the slow one ended; raise --fast"
        )
    compare(
        f"a model that answers in {answer_ms} ms beside the slow one",
        beside,
        "s",
        peer="alone",
        against=alone,
    )


def timed(api: Api, file_id: str) -> float:
    """Seconds from create to completed."""
    began = time.monotonic()
    api.wait(api.create(file_id), every_s=_LOOK_S, within_s=_BATCH_S_MAX)
    return time.monotonic() - began


def done(api: Api, batch_id: str) -> int:
    """How many lines of a batch are answered."""
    return int(api.get(f"/v1/batches/{batch_id}")["request_counts"]["completed"])


if __name__ == "__main__":
    main()

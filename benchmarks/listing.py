"""Retrieve and list with ten thousand batches in the store: idle, and while a big batch runs at full speed.

The ten thousand have ended; they are written through `bulkrate.store` before the server starts, as running
that many would take minutes. Requests go one after another over one keep-alive connection; lists ask for a
page of twenty, the first one and one from the middle. Beside the big batch, the big batch itself is retrieved
too, as whoever waits for it would.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from benchmarks import processes
from benchmarks.api import Api, warm_up, write_input
from benchmarks.figures import percentile, tell
from bulkrate.engine.ids import new_batch_id, new_file_id
from bulkrate.store import Store
from bulkrate.store.records import BatchRecord

LIMIT_MS = 20
_SECONDS_MAX = 1_800
_START_S_MAX = 120
_DAY_S = 86_400


def main() -> None:
    """Measure."""
    parser = processes.options_of(__doc__, "listing")
    parser.add_argument("--batches", type=int, default=10_000)
    parser.add_argument("--requests", type=int, default=2_000, help="of each kind")
    parser.add_argument("--lines", type=int, default=1_000_000, help="of the big batch")
    processes.add_upstream_option(parser)
    processes.run(measure, parser, seconds_max=_SECONDS_MAX)


def measure(options: argparse.Namespace) -> None:
    """Fill the store, then ask: in peace, and beside a big batch."""
    with processes.folder() as folder, processes.upstream(options.upstream) as url:
        big = write_input(folder / "big.jsonl", options.lines)
        (folder / "data").mkdir()
        ids = fill(folder / "data" / "bulkrate.db", options.batches)
        print(f"filled    {len(ids):,} ended batches through bulkrate.store")
        with processes.server(folder / "data", url) as server, Api(server.port) as api:
            warm_up(api, folder)
            file_id = api.upload(big)
            asked = kinds(ids)
            for name, path in asked.items():
                report(f"idle: {name}", ask_often(api, path, options.requests))
            batch_id = api.create(file_id)
            before = wait_until_sending(api, batch_id)
            began = time.monotonic()
            asked["retrieve the big one"] = lambda: f"/v1/batches/{batch_id}"
            for name, path in asked.items():
                report(f"busy: {name}", ask_often(api, path, options.requests))
            batch = api.get(f"/v1/batches/{batch_id}")
            speed = (batch["request_counts"]["completed"] - before) / (time.monotonic() - began)
            print(f"busy      the big batch ran at {speed:,.0f} lines/s meanwhile")
            assert batch["status"] == "in_progress", "it was not big enough; raise --lines"


def kinds(ids: Sequence[str]) -> dict[str, Callable[[], str]]:
    """What is asked: by name, where the next request goes."""
    dice = random.Random(1)
    middle = ids[len(ids) // 2]
    return {
        "retrieve": lambda: f"/v1/batches/{dice.choice(ids)}",
        "list, the first page": lambda: "/v1/batches?limit=20",
        "list, a page in the middle": lambda: f"/v1/batches?limit=20&after={middle}",
    }


def ask_often(api: Api, path: Callable[[], str], requests: int) -> list[float]:
    """How long each request took, in milliseconds."""
    took = []
    for _ in range(requests):
        began = time.perf_counter()
        api.ask("GET", path())
        took.append((time.perf_counter() - began) * 1000)
    return took


def report(what: str, took: Sequence[float]) -> None:
    """Median and p99 against the limit; the slowest beside them, which a limit on p99 would hide."""
    tell(f"{what}, p50", median(took), "ms", limit=LIMIT_MS)
    tell(f"{what}, p99", percentile(took, 0.99), "ms", limit=LIMIT_MS, also=f"slowest {max(took):.0f} ms")


def fill(database: Path, number: int) -> list[str]:
    """Write batches that have ended; their ids."""
    store = Store(database)
    ids = []
    for index in range(number):
        ids.append(new_batch_id(time.time()))
        store.batches.create(ended(ids[-1], index))
    store.close()
    return ids


def ended(batch_id: str, index: int) -> BatchRecord:
    """A batch of a thousand lines that has completed."""
    now = int(time.time())
    return BatchRecord(
        id=batch_id,
        family=batch_id,
        project="default",
        endpoint="/v1/chat/completions",
        input_file_id=new_file_id(),
        completion_window="24h",
        status="completed",
        created_at=now,
        in_progress_at=now,
        finalizing_at=now,
        completed_at=now,
        expires_at=now + _DAY_S,
        metadata=b'{"run":"%d","purpose":"benchmark"}' % index,
        output_file_id=new_file_id(),
        model=processes.MODEL,
        planned=True,
        total=1_000,
        completed=1_000,
        input_tokens=40_000,
        output_tokens=14_000,
        total_tokens=54_000,
    )


def wait_until_sending(api: Api, batch_id: str) -> int:
    """Return when the first answers have come; how many."""
    deadline = time.monotonic() + _START_S_MAX
    while not (done := int(api.get(f"/v1/batches/{batch_id}")["request_counts"]["completed"])):
        assert time.monotonic() < deadline, "the big batch does not begin"
        time.sleep(0.05)
    return done


if __name__ == "__main__":
    main()

"""What a batch of one line takes on an idle server, from create to `completed`, for a client that polls.

The same call is made directly to the same upstream in the same run, so that what the batch adds can be seen.
"""

from __future__ import annotations

import argparse
import time
from http.client import HTTPConnection
from statistics import median
from urllib.parse import urlsplit

from benchmarks import processes
from benchmarks.api import Api, write_input
from benchmarks.figures import percentile, tell

LIMIT_MS = 150
_SECONDS_MAX = 600
_POLL_S = 0.002
_BATCH_S_MAX = 30


def main() -> None:
    """Measure."""
    parser = processes.options_of(__doc__, "latency")
    parser.add_argument("--batches", type=int, default=50)
    processes.add_upstream_option(parser)
    processes.run(measure, parser, seconds_max=_SECONDS_MAX)


def measure(options: argparse.Namespace) -> None:
    """Batches one after another, each on a server that has nothing else to do."""
    with processes.folder() as folder, processes.upstream(options.upstream) as url:
        path = write_input(folder / "input.jsonl", 1)
        direct = [call(url) for _ in range(options.batches)]
        with processes.server(folder / "data", url) as server, Api(server.port) as api:
            file_id = api.upload(path)
            through_batch(api, file_id)  # the clerk and the sender are still starting
            batches = [through_batch(api, file_id) for _ in range(options.batches)]
        tell("median", median(batches), "ms", limit=LIMIT_MS)
        tell("p95", percentile(batches, 0.95), "ms", limit=LIMIT_MS)
        alone = median(direct)
        tell(f"median beyond a direct call ({alone:.1f} ms)", median(batches) - alone, "ms", limit=LIMIT_MS)


def through_batch(api: Api, file_id: str) -> float:
    """Milliseconds from the request to create until `completed` is seen."""
    began = time.monotonic()
    api.wait(api.create(file_id), every_s=_POLL_S, within_s=_BATCH_S_MAX)
    return (time.monotonic() - began) * 1000


def call(url: str) -> float:
    """Milliseconds of one call to the upstream, connection and all."""
    place = urlsplit(url)
    body = b'{"model":"bench","messages":[{"role":"user","content":"hello"}]}'
    began = time.monotonic()
    connection = HTTPConnection(place.hostname or "", place.port, timeout=_BATCH_S_MAX)
    connection.request("POST", f"{place.path}/chat/completions", body, {"content-type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    assert answer.status == 200, answer.status
    return (time.monotonic() - began) * 1000


if __name__ == "__main__":
    main()

"""The command: measure the peers alone."""

from __future__ import annotations

import argparse

import benchmarks.peers
from benchmarks import processes
from benchmarks.peers.compare import compare_all
from benchmarks.peers.field import FIELD

_SECONDS_MAX = 3_600


def main() -> None:
    """Measure."""
    parser = processes.options_of(benchmarks.peers.__doc__, "peers")
    parser.add_argument("peer", nargs="*", help="one of " + ", ".join(peer.name for peer in FIELD))
    processes.add_upstream_option(parser)
    processes.run(measure, parser, seconds_max=_SECONDS_MAX)


def measure(options: argparse.Namespace) -> None:
    """One after another, against one upstream."""
    unknown = set(options.peer) - {peer.name for peer in FIELD}
    assert not unknown, f"unknown: {', '.join(sorted(unknown))}"
    with processes.folder() as folder, processes.upstream(options.upstream) as url:
        compare_all(folder, url, options.peer)


if __name__ == "__main__":
    main()

"""What a death costs: the server or one of its workers is killed with SIGKILL at random moments of batches.

The moments are spread over a batch's life: at 5 %, at 50 % and at 99 % of its lines, while it is finished,
and while it is cancelled. After each death the server is started again at once on the same folder; a worker
is started again by the server. Then the books are kept: each line of each batch must stand exactly once in
the output or the error file, and what the upstream was asked again, by its journal, may be no more than what
was in flight and what it was asked within one second.

Exit code 1 when a line is lost or doubled.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.crash.accounting import input_of
from tests.support.processes import Server, lines_of, running, sandbox, submit

from benchmarks import processes
from benchmarks.figures import tell

RESUME_S_LIMIT = 3.0
LATENCY_MS = 20
STAGES = ("5 %", "50 %", "99 %", "finishing", "cancelling")
# Where in a batch, as shares of its lines, a stage's moment is drawn from.
_SHARES = {"5 %": (0.02, 0.08), "50 %": (0.4, 0.6), "99 %": (0.97, 0.995), "cancelling": (0.1, 0.9)}
# How long after its last call, or after the request to cancel it, a batch's moment is drawn from.
_ENDINGS_S = {"finishing": 0.3, "cancelling": 0.1}
# The journal tells of what a dead process had sent for a moment longer; no new one is up so soon.
_LAST_WORDS_S = 0.2
# On a busy machine it may tell of it later still.
_LATE_WORDS_S = 1.0
_ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
_WAIT_S_MAX = 300.0
_LOOK_S = 0.002
_SECONDS_MAX = 3_600


def main() -> None:
    """Measure."""
    parser = processes.options_of(__doc__, "kill")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument(
        "--lines", type=int, default=20_000, help="of each batch; five deaths take two batches"
    )
    parser.add_argument("--in-flight", type=int, default=256)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--small", action="store_true", help="five deaths in batches of 2,000 lines")
    processes.run(measure, parser, seconds_max=_SECONDS_MAX)


def measure(options: argparse.Namespace) -> None:
    """Kill, keep the books, tell."""
    if options.small:
        options.kills, options.lines, options.in_flight = len(STAGES), 2_000, 64
    print(f"seed      {options.seed}")
    with processes.folder() as folder:
        journal = folder / "journal.jsonl"
        with running(sandbox("--latency-ms", str(LATENCY_MS), "--journal", str(journal))) as upstream:
            env = {
                "BULKRATE_UPSTREAMS__IT__URL": upstream.url,
                "BULKRATE_UPSTREAMS__IT__MAX_IN_FLIGHT": str(options.in_flight),
            }
            proof = Proof(folder / "data", env, Journal(journal), random.Random(options.seed))
            try:
                for number, stages in enumerate(batches(options.kills)):
                    proof.run(f"{number}-", options.lines, stages)
            finally:
                proof.server.kill()
    tell_all(proof, options)
    if proof.lost or proof.doubled:
        sys.exit(1)


def batches(kills: int) -> list[list[str]]:
    """The stages at which somebody dies, batch by batch: a batch that is cancelled has no other death."""
    found: list[list[str]] = []
    for number in range(kills):
        stage = STAGES[number % len(STAGES)]
        if stage in {STAGES[0], "cancelling"}:
            found.append([])
        found[-1].append(stage)
    return found


@dataclass(kw_only=True)
class Death:
    """One SIGKILL. `at` is the Unix time; `resumed_s` is None if nothing was left to send."""

    stage: str
    status: str
    who: str
    at: float
    lines: int
    resumed_s: float | None = None
    repeated: int = 0


class Journal:
    """What the upstream was asked for one batch after another; reads on as it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._end = 0
        self.begin("")

    def begin(self, prefix: str) -> None:
        """Forget what was; count the calls for lines whose `custom_id` begins like this."""
        self._prefix = prefix
        self.calls: list[tuple[float, str]] = []
        self.lines: set[str] = set()

    def read(self) -> None:
        """Take in what is new."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._end)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._end += len(whole) + len(newline)
        for entry in map(json.loads, whole.splitlines()):
            if str(entry["user"]).startswith(self._prefix):
                self.calls.append((entry["t"], entry["user"]))
                self.lines.add(entry["user"])

    def repeats(self) -> list[tuple[float, float]]:
        """For each call for a line that had been asked for before: when it was, and when this is."""
        last: dict[str, float] = {}
        again = []
        for when, line in self.calls:
            if line in last:
                again.append((last[line], when))
            last[line] = when
        return again

    def busiest_second(self) -> int:
        """The most calls within any second."""
        times = sorted(when for when, _ in self.calls)
        best = first = 0
        for last, when in enumerate(times):
            while when - times[first] > 1:
                first += 1
            best = max(best, last - first + 1)
        return best


@dataclass
class Proof:
    """A server that is killed and started again on one folder, and what became of the lines."""

    data: Path
    env: dict[str, str]
    journal: Journal
    dice: random.Random
    lines: int = 0
    lost: int = 0
    doubled: int = 0
    unexplained: int = 0
    busiest: int = 0
    deaths: list[Death] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server = Server(self.data, env=self.env)

    def run(self, prefix: str, lines: int, stages: Sequence[str]) -> None:
        """One batch, from create to its end, with a death at each of these stages; then its books."""
        ids = [f"{prefix}{number}" for number in range(lines)]
        self.journal.begin(prefix)
        batch_id = submit(self.server.client, input_of(ids)).id
        deaths = [self._die(stage, batch_id, lines) for stage in stages]
        wait_until(lambda: self._status(batch_id) in _ENDED)
        self.journal.read()
        self._attribute(deaths)
        self._check(batch_id, ids)

    def _die(self, stage: str, batch_id: str, lines: int) -> Death:
        self._wait_for(stage, batch_id, lines)
        status = self._status(batch_id)
        self.journal.read()
        workers = self.server.workers()
        who = self.dice.choice(["server", self.dice.choice(sorted(workers))])
        death = Death(stage=stage, status=status, who=who, at=time.time(), lines=len(self.journal.lines))
        if who == "server":
            self.server.kill()
            since = time.time()
            self.server = Server(self.data, env=self.env)
        else:
            os.kill(workers[who], signal.SIGKILL)
            since = death.at
            wait_until(lambda: self.server.workers()[who] != workers[who])
        death.resumed_s = self._resumed(batch_id, since)
        self.deaths.append(death)
        return death

    def _wait_for(self, stage: str, batch_id: str, lines: int) -> None:
        if stage in _SHARES:
            moment = int(lines * self.dice.uniform(*_SHARES[stage]))
            wait_until(lambda: self._asked() >= moment)
        if stage == "finishing":
            wait_until(lambda: self._asked() >= lines)
        elif stage == "cancelling":
            self.server.client.batches.cancel(batch_id)
        if stage in _ENDINGS_S:
            time.sleep(self.dice.uniform(0, _ENDINGS_S[stage]))

    def _asked(self) -> int:
        self.journal.read()
        return len(self.journal.lines)

    def _resumed(self, batch_id: str, since: float) -> float | None:
        """Seconds until the next call; None if the batch needs none."""

        def next_call() -> float | None:
            self.journal.read()
            return next((when for when, _ in self.journal.calls if when > since + _LAST_WORDS_S), None)

        wait_until(lambda: next_call() is not None or self._status(batch_id) in {"finalizing", *_ENDED})
        found = next_call()
        return None if found is None else found - since

    def _attribute(self, deaths: Sequence[Death]) -> None:
        """Each repeated call to the death that lost the answer to the one before: the first after that.

        A clerk's death loses none, so another's is rather the cause.
        """
        for before, when in self.journal.repeats():
            able = [death for death in deaths if before - _LATE_WORDS_S < death.at <= when]
            if able:
                next((death for death in able if death.who != "clerk"), able[0]).repeated += 1
            else:
                self.unexplained += 1
        self.busiest = max(self.busiest, self.journal.busiest_second())

    def _check(self, batch_id: str, ids: Sequence[str]) -> None:
        batch = self.server.client.batches.retrieve(batch_id)
        answers = [
            *lines_of(self.server.client, batch.output_file_id),
            *lines_of(self.server.client, batch.error_file_id),
        ]
        found = Counter(answer["custom_id"] for answer in answers)
        self.lines += len(ids)
        self.lost += sum(custom_id not in found for custom_id in ids)
        self.doubled += sum(found.values()) - len(found)

    def _status(self, batch_id: str) -> str:
        return str(self.server.get(f"/v1/batches/{batch_id}")["status"])


def tell_all(proof: Proof, options: argparse.Namespace) -> None:
    """The table of deaths, and each figure against its limit."""
    row = "  {:<12} {:<12} {:<10} {:>8} {:>9} {:>14}"
    print(row.format("stage", "batch was", "killed", "at line", "repeated", "resumed after"))
    for death in proof.deaths:
        resumed = "-" if death.resumed_s is None else f"{death.resumed_s:.2f} s"
        print(row.format(death.stage, death.status, death.who, death.lines, death.repeated, resumed))
    counts = {
        "lines lost": proof.lost,
        "lines doubled": proof.doubled,
        "calls repeated without a death": proof.unexplained,
    }
    for what, count in counts.items():
        print(f"  {what:<38} {count:>9,} in {proof.lines:,} lines, 0 may be: {'OVER' if count else 'within'}")
    limit = options.in_flight + proof.busiest
    also = f"{options.in_flight} in flight, {proof.busiest:,} in the busiest second"
    tell(
        "calls repeated by one death, at most",
        max(d.repeated for d in proof.deaths),
        "calls",
        limit=limit,
        also=also,
    )
    resumed = [death.resumed_s for death in proof.deaths if death.resumed_s is not None]
    if resumed:
        tell("until the first call again, at most", max(resumed), "s", limit=RESUME_S_LIMIT)


def wait_until(good: Callable[[], Any]) -> None:
    """Look again and again until it is so."""
    deadline = time.monotonic() + _WAIT_S_MAX
    while not good():
        assert time.monotonic() < deadline, f"not so after {_WAIT_S_MAX:g} s"
        time.sleep(_LOOK_S)


if __name__ == "__main__":
    main()

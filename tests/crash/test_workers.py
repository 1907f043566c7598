"""Several senders and several upstreams share a batch; one takes over what another leaves, and none waits."""

from __future__ import annotations

import os
import signal
import sqlite3
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from tests.crash.accounting import Journal, check_ended, fresh_ids, input_of, line
from tests.support.processes import Server, jsonl, running, sandbox, submit, wait_until, wait_until_ended

pytestmark = pytest.mark.server

LINES = 3_000
WINDOW = 16
SENDERS = ("sender-0", "sender-1")


class Upstreams:
    """Two upstreams of one model, each with a journal of its own."""

    def __init__(self, folder: Path) -> None:
        self.journals = [Journal(folder / f"{number}.jsonl") for number in (0, 1)]
        self.urls: list[str] = []

    def calls(self, ids: list[str]) -> list[int]:
        """How many calls each had for these lines."""
        return [journal.total(ids) for journal in self.journals]

    def wait_for_calls(self, ids: list[str], count: int) -> None:
        """Until each had so many."""
        wait_until(lambda: self.calls(ids), lambda calls: min(calls) >= count)


@contextmanager
def two_upstreams(
    folder: Path,
    *,
    latency_ms: tuple[int, int] = (20, 20),
    flags: tuple[tuple[str, ...], tuple[str, ...]] = ((), ()),
) -> Iterator[Upstreams]:
    upstreams = Upstreams(folder)
    folder.mkdir()
    processes = [
        sandbox("--latency-ms", str(slow), "--journal", str(journal.path), *more)
        for slow, journal, more in zip(latency_ms, upstreams.journals, flags, strict=True)
    ]
    with running(processes[0]), running(processes[1]):
        upstreams.urls = [process.url for process in processes]
        yield upstreams


def shared(
    upstreams: Upstreams, *, windows: tuple[int, int] = (WINDOW, WINDOW), **more: str
) -> dict[str, str]:
    """The environment of a server with a sender for each upstream."""
    env = {"BULKRATE_WORKERS": "2", **more}
    for name, url, window in zip("ab", upstreams.urls, windows, strict=True):
        env[f"BULKRATE_UPSTREAMS__{name.upper()}__URL"] = url
        env[f"BULKRATE_UPSTREAMS__{name.upper()}__MAX_IN_FLIGHT"] = str(window)
    return env


def taken(server: Server, role: str, *, since: int = 0) -> list[str]:
    """The upstreams that a sender took, from a line of the log on."""
    return [
        line.rpartition("upstream=")[2].strip()
        for line in list(server.log)[since:]
        if f" {role} upstream_taken " in line
    ]


def wait_for_both(server: Server) -> None:
    wait_until(lambda: [len(taken(server, role)) for role in SENDERS], lambda each: each == [1, 1])


def test_two_workers_share_one_batch_and_answer_every_line_once(data: Path, tmp_path: Path) -> None:
    ids = fresh_ids(LINES)
    with two_upstreams(tmp_path / "up") as upstreams, running(Server(data, env=shared(upstreams))) as server:
        wait_for_both(server)
        batch_id = submit(server.client, input_of(ids)).id
        check_ended(server, batch_id, ids)
        calls = upstreams.calls(ids)
        assert sum(calls) == LINES
        assert min(calls) > LINES / 10


def test_what_is_read_of_a_batch_that_two_write_only_grows_at_its_end(data: Path, tmp_path: Path) -> None:
    ids = fresh_ids(LINES)
    with two_upstreams(tmp_path / "up") as upstreams, running(Server(data, env=shared(upstreams))) as server:
        wait_for_both(server)
        batch_id = submit(server.client, input_of(ids)).id

        def output() -> bytes:
            with urllib.request.urlopen(f"{server.url}/batches/{batch_id}/output", timeout=30) as answer:
                content: bytes = answer.read()
            return content

        seen = b""
        while server.client.batches.retrieve(batch_id).status == "in_progress":
            now = output()
            assert now.startswith(seen)
            seen = now
        wait_until_ended(server.client, batch_id)
        assert output().startswith(seen)


def test_a_killed_worker_loses_and_doubles_nothing_and_comes_back(data: Path, tmp_path: Path) -> None:
    ids = fresh_ids(LINES)
    with two_upstreams(tmp_path / "up") as upstreams, running(Server(data, env=shared(upstreams))) as server:
        wait_for_both(server)
        batch_id = submit(server.client, input_of(ids)).id
        upstreams.wait_for_calls(ids, 300)
        before = len(server.log)
        os.kill(server.child("sender-1"), signal.SIGKILL)
        server.wait_for_log("process_died role=sender-1")
        check_ended(server, batch_id, ids)
        wait_until(lambda: taken(server, "sender-1", since=before), lambda names: len(names) == 1)
    busiest = max(journal.busiest_second(ids) for journal in upstreams.journals)
    assert sum(upstreams.calls(ids)) - LINES <= WINDOW + busiest


def test_an_upstream_whose_worker_stays_dead_is_taken_over_and_handed_back(
    data: Path, tmp_path: Path
) -> None:
    ids = fresh_ids(LINES)
    with two_upstreams(tmp_path / "up") as upstreams, running(Server(data, env=shared(upstreams))) as server:
        wait_for_both(server)

        def kill_and_look() -> list[str]:
            # It is started again and again, and dies each time.
            with suppress(ProcessLookupError):
                os.kill(server.child("sender-1"), signal.SIGKILL)
            return taken(server, "sender-0")

        wait_until(kill_and_look, lambda names: sorted(names) == ["a", "b"])
        batch_id = submit(server.client, input_of(ids)).id
        wait_until(lambda: taken(server, "sender-1"), lambda names: len(names) >= 2)
        assert any(" sender-0 upstream_let_go " in line for line in server.log)
        check_ended(server, batch_id, ids)
        assert sum(upstreams.calls(ids)) == LINES


def test_a_line_that_kills_its_upstream_is_found_though_two_workers_have_it(
    data: Path, tmp_path: Path
) -> None:
    """Handed from one worker to the other without a word, it would kill both upstreams for ever."""
    ids = fresh_ids(400)
    content = input_of(ids[1:]) + jsonl(line(ids[0], "[[sandbox:sleep_ms=200,crash]]"))
    restart = ("--restart-s", "0.5")
    with (
        two_upstreams(tmp_path / "up", flags=(restart, restart)) as upstreams,
        running(Server(data, env=shared(upstreams))) as server,
    ):
        wait_for_both(server)
        batch_id = submit(server.client, content).id
        assert wait_until_ended(server.client, batch_id, timeout_s=120.0).status == "completed"
        batch = server.client.batches.retrieve(batch_id)
        assert (batch.request_counts.completed, batch.request_counts.failed) == (len(ids) - 1, 1)


def test_lines_that_fell_with_an_upstream_for_good_are_tested_at_another(data: Path, tmp_path: Path) -> None:
    ids = fresh_ids(400)
    content = input_of(ids[1:]) + jsonl(line(ids[0], "[[sandbox:sleep_ms=200,crash]]"))
    with (
        two_upstreams(tmp_path / "up", flags=((), ("--restart-s", "0.5"))) as upstreams,
        running(Server(data, env=shared(upstreams, windows=(WINDOW, 1)))) as server,
    ):
        wait_for_both(server)
        batch_id = submit(server.client, content).id
        assert wait_until_ended(server.client, batch_id, timeout_s=120.0).status == "completed"
        batch = server.client.batches.retrieve(batch_id)
        assert (batch.request_counts.completed, batch.request_counts.failed) == (len(ids) - 1, 1)


def test_a_slow_upstream_does_not_hold_up_the_end_of_a_batch(data: Path, tmp_path: Path) -> None:
    # The slow one answers two lines in a second: half of them would take it six minutes.
    ids = fresh_ids(LINES // 2)
    with (
        two_upstreams(tmp_path / "up", latency_ms=(5, 1_000)) as upstreams,
        running(Server(data, env=shared(upstreams, windows=(WINDOW, 2)))) as server,
    ):
        wait_for_both(server)
        batch_id = submit(server.client, input_of(ids)).id
        check_ended(server, batch_id, ids)
        calls = [journal.calls() for journal in upstreams.journals]
        assert len(calls[0]) > len(calls[1]) > 0
        fast_ended = max(when for when, _ in calls[0])
        assert sum(when > fast_ended for when, _ in calls[1]) <= WINDOW


def test_a_sender_that_would_contradict_the_records_begins_anew(data: Path, tmp_path: Path) -> None:
    """To try the same commit again helps nobody."""
    ids = fresh_ids(400)
    journal = Journal(tmp_path / "journal")
    with (
        running(sandbox("--latency-ms", "50", "--journal", str(journal.path))) as upstream,
        running(Server(data, upstream.url, env={"BULKRATE_WORKERS": "1"})) as server,
    ):
        batch = submit(server.client, input_of(ids))
        journal.wait_for_calls(ids, 20)
        with closing(sqlite3.connect(data / "bulkrate.db", timeout=30, isolation_level=None)) as records:
            records.execute("UPDATE batches SET failed = total - completed")
            wait_until(
                lambda: [entry for entry in list(server.log) if "process_died role=sender-0" in entry], bool
            )
            records.execute("UPDATE batches SET failed = 0")
        check_ended(server, batch.id, ids)

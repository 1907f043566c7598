"""Whoever moves a job dies at each named point: the same command goes on, and no row is sent or paid twice.

What answers lives on, so that a death here costs not one call: at the job's own engine, and at a Batch API
of others, which knows no idempotency keys and shows a result only when it is whole.
"""

from __future__ import annotations

import csv
import json
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkrate.engine.points import POINTS
from tests.support.command import Command, hosts_stopped, ran, record_of
from tests.support.processes import Server, running, sandbox
from tests.toolkit.jobs.plain import PlainServer

pytestmark = pytest.mark.server

ROWS = 40
HERE = [point for point in POINTS if point.startswith("job.")]
#: Between a call to the server and its record: what others' servers make hard.
ASKING = ["job.uploaded", "job.created", "job.gathered", "job.collected"]


class Work:
    """A job in a folder of its own, at a place whose calls are in the journal."""

    def __init__(self, folder: Path, journal: Path, *where: str) -> None:
        self.folder = folder
        self.home = folder / ".bulkrate"
        self._journal = journal
        with (folder / "rows.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["id"], *([number] for number in range(ROWS))])
        self.words = ("run", "rows.csv", "-p", "What of {{ id }}?", "-m", "m", "-o", "out.csv", *where, "-q")

    def is_whole(self, again: Command) -> None:
        """Every row is there once, in order, and was asked for and counted once; `again` ended the job."""
        with (self.folder / "out.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [int(row["id"]) for row in rows] == list(range(ROWS))
        assert all(row["_status"] == "answered" for row in rows)
        calls = Counter(json.loads(line)["body_sha256"] for line in self._journal.read_bytes().splitlines())
        assert len(calls) == ROWS
        assert set(calls.values()) == {1}
        record = record_of(self.home)
        assert record["state"] == "done"
        assert sum(bought["answers"] for bought in again.json["purchases"]) == ROWS
        assert len(list((self.home / "jobs").iterdir())) == 1

    def dies_at(self, point: str) -> None:
        """Run, and see it die."""
        command = Command(self.folder, *self.words, env={"BULKRATE_DIE_AT": point})
        assert command.end() == 128 + signal.SIGKILL, command.stderr


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Work]:
    journal = tmp_path / "journal.jsonl"
    work = Work(tmp_path, journal, "--upstream", f"sandbox?journal={journal}")
    with hosts_stopped(work.home):
        yield work


@pytest.fixture
def work_elsewhere(tmp_path: Path) -> Iterator[Work]:
    """A job at a plain Batch API."""
    journal = tmp_path / "journal.jsonl"
    with (
        running(sandbox("--journal", str(journal))) as upstream,
        running(Server(tmp_path / "data", upstream.url)) as server,
        PlainServer(server.port).listening() as plain,
    ):
        yield Work(tmp_path, journal, "--server", plain.url)


@pytest.mark.parametrize("point", HERE)
def test_a_death_at_any_point_costs_nothing(point, work):
    work.dies_at(point)
    again = ran(work.folder, *work.words)
    assert again.code == 0, again.stderr
    work.is_whole(again)


@pytest.mark.slow
def test_a_job_outlives_a_death_at_every_point_one_after_the_other(work):
    die_at = ",".join(f"{point}:1:{work.folder / point}" for point in HERE)
    for _ in HERE:
        work.dies_at(die_at)
    again = ran(work.folder, *work.words, env={"BULKRATE_DIE_AT": die_at})
    assert again.code == 0, again.stderr
    assert [point for point in HERE if not (work.folder / point).exists()] == []
    work.is_whole(again)


@pytest.mark.slow
@pytest.mark.parametrize("point", ASKING)
def test_a_death_costs_nothing_at_a_server_that_knows_no_keys(point, work_elsewhere):
    work_elsewhere.dies_at(point)
    again = ran(work_elsewhere.folder, *work_elsewhere.words)
    assert again.code == 0, again.stderr
    work_elsewhere.is_whole(again)

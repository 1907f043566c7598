"""Jobs whose processes die: the same command goes on, every row comes back once, and nobody is paid twice."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.support.command import Command, hosts_stopped, ran, record_of
from tests.support.processes import wait_until

ROWS = 300
#: What may be in flight when something dies, the queue of the sandbox with it: nobody heard its answer.
IN_FLIGHT_MAX = 120
CAPACITY = 20


class Job:
    """One job in a folder of its own, with a sandbox that notes every call."""

    def __init__(self, folder: Path, rows: int = ROWS, latency_ms: int = 100) -> None:
        self.folder = folder
        self.home = folder / ".bulkrate"
        self.rows = rows
        self.journal = folder / "journal.jsonl"
        with (folder / "rows.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "text"])
            writer.writerows([number, f"text number {number}"] for number in range(rows))
        sandbox = f"sandbox?latency_ms={latency_ms}&capacity={CAPACITY}&journal={self.journal}"
        self.words = ("run", "rows.csv", "-p", "What of {{ text }}?", "-m", "m", "-o", "out.csv",
                      "--upstream", sandbox, "--quiet")  # fmt: skip

    def begin(self) -> Command:
        return Command(self.folder, *self.words)

    def calls(self) -> Counter[str]:
        lines = self.journal.read_bytes().splitlines() if self.journal.exists() else []
        return Counter(json.loads(line)["body_sha256"] for line in lines)

    def wait_for_calls(self, count: int) -> None:
        wait_until(lambda: self.calls().total(), lambda total: total >= count)

    def engine(self) -> int:
        """The process id of the host."""
        door = wait_until(lambda: list((self.home / "engines").glob("*/door.json")), bool)[0]
        return int(json.loads(door.read_bytes())["pid"])

    def sender(self) -> int:
        """A process of the engine that sends lines."""
        log = next((self.home / "engines").glob("*/log"))
        lines = [line for line in log.read_text().splitlines() if "process_started role=sender" in line]
        return int(lines[-1].rpartition("pid=")[2])

    def is_whole(self, deaths: int) -> None:
        """Every row is there once, in order; none was sent again but what was in flight at a death."""
        with (self.folder / "out.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [int(row["id"]) for row in rows] == list(range(self.rows))
        assert all(row["_status"] == "answered" and row["answer"] for row in rows)
        assert len({row["answer"] for row in rows}) > self.rows / 2
        calls = self.calls()
        assert len(calls) == self.rows
        assert calls.total() - self.rows <= deaths * IN_FLIGHT_MAX
        record = record_of(self.home)
        assert record["state"] == "done"
        assert sum(record["counts"].values()) == record["rows"] == self.rows
        sold = [each for prices in record["tokens"].values() for each in prices.values()]
        assert sum(each["requests"] for each in sold) == self.rows
        assert len(list((self.home / "jobs").iterdir())) == 1


@pytest.fixture
def job(tmp_path):
    job = Job(tmp_path)
    with hosts_stopped(job.home):
        yield job


@pytest.mark.parametrize("calls", [0, 1, 60, 250])
def test_the_same_command_goes_on_after_a_kill(job, calls):
    command = job.begin()
    if calls:
        job.wait_for_calls(calls)
    else:
        wait_until(lambda: record_of(job.home), bool)
    command.send(signal.SIGKILL)
    command.end()
    again = job.begin()
    assert again.end() == 0, again.stderr
    # The engine lets land what is in flight, so that a death of the command alone costs nothing.
    job.is_whole(deaths=0)


def test_many_kills_at_random_moments(job):
    dice = random.Random(20261121)
    for _ in range(6):
        command = job.begin()
        time.sleep(dice.uniform(0.3, 4.0))  # the moment is the test
        command.send(signal.SIGKILL)
        command.end()
    again = job.begin()
    assert again.end() == 0, again.stderr
    job.is_whole(deaths=0)


def test_the_engine_is_killed_and_comes_back(job):
    command = job.begin()
    job.wait_for_calls(60)
    os.kill(job.engine(), signal.SIGKILL)
    assert command.end() == 0, command.stderr
    job.is_whole(deaths=1)


def test_a_sender_is_killed_and_comes_back(job):
    command = job.begin()
    job.wait_for_calls(60)
    os.kill(job.sender(), signal.SIGKILL)
    assert command.end() == 0, command.stderr
    job.is_whole(deaths=1)


def test_all_is_killed_as_by_a_power_cut(job):
    command = job.begin()
    job.wait_for_calls(100)
    engine = job.engine()
    command.send(signal.SIGKILL)
    os.kill(engine, signal.SIGKILL)
    command.end()
    # After a reboot the number may be another's: ours, which lives.
    door = next((job.home / "engines").glob("*/door.json"))
    told = json.loads(door.read_bytes())
    door.write_text(json.dumps(told | {"pid": os.getpid()}))
    again = job.begin()
    assert again.end() == 0, again.stderr
    job.is_whole(deaths=1)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_it_and_says_how_to_go_on(job, number, code):
    command = job.begin()
    job.wait_for_calls(40)
    command.send(number)
    assert command.end() == code
    name = record_of(job.home)["id"]
    assert f"bulkrate resume {name}" in command.stderr
    assert not (job.folder / "out.csv").exists()
    if number == signal.SIGINT:
        again = ran(job.folder, "resume", name, "--quiet")
    else:
        assert ran(job.folder, "resume", name, "--detach").json["job"] == name
        again = ran(job.folder, "watch", name, "--quiet")
    assert again.code == 0, again.stderr
    job.is_whole(deaths=0)


def test_two_commands_at_once_are_one_job(job):
    first, second = job.begin(), job.begin()
    codes = sorted([first.end(), second.end()])
    # Whoever comes second is told who runs it; if it comes after the end, it has the result.
    assert codes in ([0, 7], [0, 0])
    if codes == [0, 7]:
        assert "bulkrate watch" in first.stderr + second.stderr
    job.is_whole(deaths=0)


def test_two_jobs_share_an_engine(job):
    other = Command(
        job.folder, *(word.replace("out.csv", "other.csv") for word in job.words), "--name", "two"
    )
    first = job.begin()
    assert (first.end(), other.end()) == (0, 0), first.stderr + other.stderr
    assert len(list((job.home / "engines").iterdir())) == 1
    assert (job.folder / "out.csv").read_bytes() == (job.folder / "other.csv").read_bytes()
    assert set(job.calls().values()) == {2}


@pytest.mark.parametrize("cut", [0, 1, 7, 1_000])
def test_what_a_crash_left_behind_in_the_log_does_not_count(job, cut):
    command = job.begin()
    job.wait_for_calls(150)
    command.send(signal.SIGKILL)
    command.end()
    log = next((job.home / "jobs").glob("*/answers.log"))
    with log.open("ab") as file:
        file.write(os.urandom(cut))
    again = job.begin()
    assert again.end() == 0, again.stderr
    job.is_whole(deaths=0)


def test_killed_while_it_writes_it_leaves_no_half_file(job):
    assert job.begin().end() == 0
    whole = (job.folder / "out.csv").read_bytes()
    (job.folder / "out.csv").unlink()
    dice = random.Random(7)
    for _ in range(4):
        command = job.begin()
        time.sleep(dice.uniform(0.5, 2.0))  # the moment is the test
        command.send(signal.SIGKILL)
        command.end()
        if (job.folder / "out.csv").exists():
            assert (job.folder / "out.csv").read_bytes() == whole
    assert job.begin().end() == 0
    assert (job.folder / "out.csv").read_bytes() == whole
    job.is_whole(deaths=0)


@pytest.fixture
def slow_job(tmp_path):
    """One that is still at it when two more commands have been given."""
    job = Job(tmp_path, latency_ms=700)
    with hosts_stopped(job.home):
        yield job


def test_a_detached_job_is_watched_and_cancelled(slow_job):
    job = slow_job
    begun = ran(job.folder, *job.words[:-1], "--detach")
    assert begun.code == 0, begun.stderr
    name = begun.json["job"]
    watched = ran(job.folder, "watch", name, "--timeout", "1s", "--quiet")
    assert watched.code == 7
    assert ran(job.folder, "status", name).code == 7
    job.wait_for_calls(40)
    cancelled = ran(job.folder, "cancel", name)
    assert cancelled.code == 0, cancelled.stderr
    told = cancelled.json
    assert told["state"] == "cancelled"
    assert told["adds_up"]
    assert 0 < told["answered"] < ROWS
    sent = job.calls()
    retried = ran(job.folder, "retry", name, "--quiet")
    assert retried.code == 0, retried.stderr
    assert retried.json["answered"] == ROWS
    assert job.calls().total() - ROWS <= IN_FLIGHT_MAX
    assert len(sent) < ROWS
    job.is_whole(deaths=1)

"""The commands that look after jobs, as one types them: over jobs that ran, and one that does not end."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import bulkrate
from bulkrate.errors import JobError
from tests.cli.conftest import Ran, Type
from tests.support.processes import Server, wait_until

FAILS = "bad [[sandbox:status=400]]"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Path:
    """A folder in which `nightly` ran twice, once with a failure, and a job without a name once."""
    here = tmp_path_factory.mktemp("jobs")
    for texts, options in (
        (["a", "b", "c"], {"name": "nightly"}),
        (["a", "b", FAILS], {"name": "nightly"}),
        (["a"], {"output": here / "one.csv"}),
    ):
        begun(here, server, texts, **options).wait()
    return here


def begun(here: Path, server: Server, texts: list[str], **options: Any) -> bulkrate.Job:
    """A job in a folder; the commands do not ask who began it."""
    return bulkrate.map(
        texts, server=server.url, model="m", data=here / ".bulkrate", progress=False, **options
    )


def told(ran: Ran) -> Any:
    """What a command printed, as JSON."""
    return json.loads(ran.stdout)


@pytest.fixture
def ran(typed: Type, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Type:
    """Type a command in that folder."""
    monkeypatch.chdir(folder)
    return typed


@pytest.fixture
def slow(tmp_path: Path, server: Server) -> bulkrate.Job:
    """A job that takes some seconds, in the test's own folder, and is at it."""
    job = begun(tmp_path, server, ["quick", "slow [[sandbox:sleep_ms=4000]]"])
    wait_until(lambda: job.state, lambda state: state == "running")
    return job


def test_jobs_are_listed_newest_first(ran):
    listed = ran("jobs")
    assert listed.exit_code == 0
    assert [job["name"] for job in told(listed)] == [None, "nightly", "nightly"]
    assert [job["success_rate"] for job in told(listed)] == [1.0, 2 / 3, 1.0]
    assert all(job["adds_up"] for job in told(listed))
    assert told(ran("jobs", "--json")) == told(listed)


def test_history_compares_the_runs_of_a_name_oldest_first(ran):
    runs = told(ran("jobs", "history", "nightly"))
    assert [(run["rows"], run["failed"]) for run in runs] == [(3, 0), (3, 1)]
    assert told(ran("jobs", "history")) == runs


def test_where_nothing_ran_there_is_nothing_and_nothing_is_made(typed, tmp_path):
    assert told(typed("jobs")) == []
    for command in ("status", "watch", "resume", "results", "retry", "cancel", "export"):
        asked = typed(command)
        assert (asked.exit_code, asked.stdout) == (8, "")
        assert "there are no jobs" in asked.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["status", "watch", "resume", "results", "retry", "cancel", "export"])
def test_a_job_that_is_not_there_is_told_with_those_like_it(ran, command):
    asked = ran(command, "nigthly")
    assert asked.exit_code == 8
    assert "did you mean 'nightly'?" in asked.stderr


def test_a_name_without_runs_is_told_with_one_like_it(ran):
    asked = ran("jobs", "history", "nightlyy")
    assert asked.exit_code == 8
    assert "did you mean 'nightly'?" in asked.stderr


def test_the_status_is_told_by_the_exit_code_too(ran, folder):
    newest = ran("status")
    assert (newest.exit_code, told(newest)["output"]) == (0, str(folder / "one.csv"))
    by_name = ran("status", "nightly")
    assert (by_name.exit_code, told(by_name)["failed"]) == (6, 1)
    assert f"bulkrate retry {told(by_name)['job']}" in by_name.stderr
    by_id = ran("status", told(by_name)["job"], "--json")
    assert (by_id.exit_code, told(by_id), by_id.stderr) == (6, told(by_name), "")


def test_a_job_that_has_ended_is_watched_no_further(ran):
    watched = ran("watch", "nightly", "--quiet")
    assert watched.exit_code == 6
    assert told(watched)["state"] == "done"


def test_results_are_written_as_their_name_says(ran, tmp_path):
    out = tmp_path / "again.jsonl"
    assert ran("results", "nightly", "-o", out).exit_code == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["_status"] for row in rows] == ["answered", "answered", "failed"]
    assert rows[2]["text"] == FAILS


def test_what_is_exported_is_what_would_be_sent_now(ran, tmp_path):
    out = tmp_path / "requests.jsonl"
    exported = ran("export", "nightly", "-o", out)
    assert exported.exit_code == 0
    assert "1 requests" in exported.stderr
    (line,) = out.read_text().splitlines()
    assert FAILS in json.loads(line)["body"]["messages"][0]["content"]


@pytest.mark.parametrize("command", ["results", "export"])
def test_what_is_there_already_is_written_over_only_when_told_to(ran, tmp_path, command):
    """An export without a name for it took the place of the requests.jsonl that the user had written."""
    out = tmp_path / "requests.jsonl"
    out.write_text("precious")
    refused = ran(command, "nightly", "-o", out)
    assert (refused.exit_code, out.read_text()) == (8, "precious")
    assert "--overwrite" in refused.stderr
    assert ran(command, "nightly", "-o", out, "--overwrite").exit_code == 0
    assert FAILS in out.read_text()


def test_a_job_writes_over_its_own_output_untold(ran, folder):
    assert ran("resume", "--quiet").exit_code == 0
    assert ran("results", "-o", folder / "one.csv").exit_code == 0


def test_the_status_of_a_job_that_runs_tells_what_has_come_so_far(typed, slow):
    wait_until(lambda: typed("results").stdout, lambda lines: '"_status":"answered"' in lines)
    facts = told(typed("status"))
    assert (facts["state"], facts["answered"], facts["waiting"]) == ("running", 1, 1)


def test_resuming_what_has_ended_writes_it_and_sends_nothing(ran, folder):
    (folder / "one.csv").unlink()
    resumed = ran("resume", "--quiet")
    assert (resumed.exit_code, told(resumed)["rounds"]) == (0, ["first"])
    assert (folder / "one.csv").exists()


def test_a_job_that_has_ended_is_not_cancelled(ran):
    cancelled = ran("cancel", "nightly")
    assert cancelled.exit_code == 8
    assert "nothing to cancel" in cancelled.stderr


def test_a_job_that_runs_is_one_process_at_a_time_until_it_is_cancelled(typed, slow):
    status = typed("status")
    assert (status.exit_code, told(status)["process"]) == (7, os.getpid())
    for command in ("resume", "retry"):
        asked = typed(command, "--quiet")
        assert asked.exit_code == 7
        assert f"bulkrate watch {slow.id}" in asked.stderr
    cancelled = typed("cancel")
    assert cancelled.exit_code == 0
    facts = told(cancelled)
    assert (facts["state"], facts["adds_up"], facts["trouble"]) == ("cancelled", True, None)
    assert facts["answered"] >= 1
    assert typed("status").exit_code == (6 if facts["failed"] else 0)  # what was in flight may land
    again = typed("cancel")
    assert (again.exit_code, again.stdout) == (8, "")


def test_a_job_that_nobody_moves_on_says_how_to_go_on(typed, slow):
    slow._stop.set()
    slow._thread.join()
    watched = typed("watch", "--quiet")
    assert watched.exit_code == 8
    assert f"bulkrate resume {slow.id}" in watched.stderr
    status = typed("status")
    assert (status.exit_code, told(status)["process"]) == (7, None)


def test_the_status_of_a_job_that_was_stopped_is_that_of_what_stopped_it(typed, tmp_path):
    """A scheduler went on for a day with a job whose key was refused: its status was that it goes on."""
    (tmp_path / "rows.csv").write_text("text\na\n")
    money = ("--model", "gpt-4o-mini", "--upstream", "openai", "--upstream-key", "file:key")
    (tmp_path / "key").write_text("sk-none")
    assert typed("run", "rows.csv", "--prompt", "{{ text }}", *money).exit_code == 9
    stopped = typed("status")
    assert (stopped.exit_code, told(stopped)["exit_code"]) == (9, 9)
    with pytest.raises(JobError, match="this costs money"):
        bulkrate.Job.from_id(told(stopped)["job"]).wait()


def test_pruning_asks_first_and_takes_only_what_is_old(ran):
    assert "no job has ended longer than 30d ago" in ran("prune").stderr
    asked = ran("prune", "--older-than", "0s")
    assert asked.exit_code == 2
    assert "--yes" in asked.stderr
    assert len(told(ran("jobs"))) == 3


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("prune", "--older-than", "soon"), "soon"),
        (("watch", "--timeout", "soon"), "soon"),
        (("results", "-o", "out.xyz"), "out.xyz"),
    ],
)
def test_what_does_not_fit_is_told(ran, words, says):
    asked = ran(*words)
    assert asked.exit_code in {2, 8}
    assert says in asked.stderr

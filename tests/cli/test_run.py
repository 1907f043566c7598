"""`bulkrate run` as one types it: what it prints, where, and how it ends."""

from __future__ import annotations

import csv
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.command import Command, environment, hosts_stopped, ran
from tests.support.processes import running, sandbox, wait_until

PROMPT = ("-p", "What of {{ text }}?", "-m", "m")


@pytest.fixture
def here(tmp_path):
    """A folder with rows."""
    write_rows(tmp_path / "rows.csv", [f"text {n}" for n in range(5)])
    return tmp_path


@pytest.fixture
def at(server):
    """The server that tests share, as a place to run."""
    return ("--server", server.url)


def write_rows(path: Path, texts: list[str]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        writer.writerows(enumerate(texts))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_rows_become_answers_and_the_summary_adds_up(here, at):
    command = ran(here, "run", "rows.csv", *PROMPT, "-o", "out.csv", *at)
    assert command.code == 0, command.stderr
    told = command.json
    assert (told["rows"], told["answered"], told["failed"], told["skipped"]) == (5, 5, 0, 0)
    assert told["adds_up"]
    assert told["exit_code"] == 0
    assert "5 answered" in command.stderr
    assert [row["text"] for row in rows_of(here / "out.csv")] == [f"text {n}" for n in range(5)]


def test_rows_to_standard_output_come_alone(here, at):
    command = ran(here, "run", "rows.csv", *PROMPT, "-o", "-", *at)
    assert command.code == 0, command.stderr
    lines = [json.loads(line) for line in command.stdout.splitlines()]
    assert [line["text"] for line in lines] == [f"text {n}" for n in range(5)]


def test_the_status_of_a_job_whose_rows_went_to_standard_output_is_told(here, at):
    """It was silent, as the command that wrote the rows is."""
    assert ran(here, "run", "rows.csv", *PROMPT, "-o", "-", *at).code == 0
    status = ran(here, "status", "--json")
    assert (status.code, status.json["answered"]) == (0, 5)


def test_rows_from_a_pipe_are_known_again_by_their_content(here, at):
    words = ("run", "-", *PROMPT, "-o", "out.csv", *at)
    first = ran(here, *words, stdin=b"text\na\nb\n")
    assert first.code == 0, first.stderr
    again = ran(here, *words, stdin=b"text\na\nb\n")
    assert again.json["job"] == first.json["job"]
    other = ran(here, *words, "--overwrite", stdin=b"text\na\nc\n")
    assert other.json["job"] != first.json["job"]
    assert [row["text"] for row in rows_of(here / "out.csv")] == ["a", "c"]


def test_failed_rows_are_told_and_can_be_tolerated(here, at):
    write_rows(here / "rows.csv", ["a", "b", "c [[sandbox:status=400]]", "d"])
    command = ran(here, "run", "rows.csv", *PROMPT, "-o", "out.csv", *at)
    assert command.code == 6
    assert command.json["failed"] == 1
    assert f"bulkrate retry {command.json['job']}" in command.stderr
    statuses = [row["_status"] for row in rows_of(here / "out.csv")]
    assert statuses == ["answered", "answered", "failed", "answered"]
    # The same job by other lights: nothing is sent again.
    tolerant = ran(here, "run", "rows.csv", *PROMPT, "-o", "out.csv", *at, "--fail-under", "75%")
    assert tolerant.code == 0
    assert tolerant.json["job"] == command.json["job"]


def test_what_failed_is_shown_and_sent_again(here, at):
    write_rows(here / "rows.csv", ["a", "b [[sandbox:status=400]]"])
    assert ran(here, "run", "rows.csv", *PROMPT, "-o", "out.csv", *at).code == 6
    failed = ran(here, "results", "--failed", "-o", "-")
    assert [json.loads(line)["id"] for line in failed.stdout.splitlines()] == ["1"]
    retried = ran(here, "retry")
    assert retried.code == 6
    assert retried.json["rounds"] == ["first", "retry"]
    assert rows_of(here / "out.csv")[1]["_status"] == "failed"


def test_a_job_without_failures_has_nothing_to_retry(here, at):
    assert ran(here, "run", "rows.csv", *PROMPT, "-o", "out.csv", *at).code == 0
    retried = ran(here, "retry")
    assert retried.code == 8
    assert "nothing to retry" in retried.stderr


def test_a_dry_run_shows_what_would_be_asked_and_leaves_nothing_behind(here, at):
    command = ran(here, "run", "rows.csv", *PROMPT, "-o", "out.csv", *at, "--dry-run")
    assert command.code == 0, command.stderr
    told = command.json
    assert told["estimate"]["lines_total"] == 5
    assert json.loads(told["example"])["messages"][-1]["content"] == "What of text 0?"
    assert sorted(path.name for path in here.iterdir()) == ["rows.csv"]


def test_a_dry_run_of_what_does_not_fit_leaves_nothing_behind(here, at):
    command = ran(here, "run", "rows.csv", "-p", "{{ missing }}", "-m", "m", *at, "--dry-run")
    assert command.code == 2
    assert sorted(path.name for path in here.iterdir()) == ["rows.csv"]


def test_an_openai_file_is_run_as_it_is_in_its_order(here, at):
    lines = [
        {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": {
            "model": "m", "messages": [{"role": "user", "content": text}]}}
        for name, text in (("z", "one"), ("a", "two [[sandbox:status=400]]"), ("m", "three"))
    ]  # fmt: skip
    (here / "requests.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = ran(here, "run", "requests.jsonl", "-o", "out.jsonl", *at)
    assert command.code == 6, command.stderr
    told = [json.loads(line) for line in (here / "out.jsonl").read_text().splitlines()]
    assert [line["custom_id"] for line in told] == ["z", "a", "m"]
    assert [line["response"]["status_code"] for line in told] == [200, 400, 200]
    assert all(set(line) == {"id", "custom_id", "response", "error"} for line in told)


def test_what_is_exported_runs_by_itself(here, at):
    write_rows(here / "rows.csv", ["a [[sandbox:status=400]]", "b"])
    assert ran(here, "run", "rows.csv", *PROMPT, "-o", "other.csv", *at).code == 6
    exported = ran(here, "export", "-o", "left.jsonl")
    assert exported.code == 0, exported.stderr
    (line,) = (here / "left.jsonl").read_text().splitlines()
    assert "a [[" in json.loads(line)["body"]["messages"][0]["content"]
    assert ran(here, "run", "left.jsonl", "-o", "left.out.jsonl", *at).code == 6


def test_lineage_sends_only_new_and_changed_rows(here, at):
    words = ("run", "rows.csv", *PROMPT, "--id", "id", "--name", "nightly", "-o", "out.csv", *at)
    first = ran(here, *words)
    assert first.code == 0, first.stderr
    before = rows_of(here / "out.csv")
    write_rows(here / "rows.csv", ["text 0", "changed", "text 2", "text 3"])  # 4 is gone
    with (here / "rows.csv").open("a") as file:
        file.write("9,new\n")
    second = ran(here, *words)
    assert second.code == 0, second.stderr
    assert (second.json["rows"], second.json["reused"]) == (5, 3)
    assert second.json["usage"]["output_tokens"] > 0
    after = rows_of(here / "out.csv")
    assert [row["id"] for row in after] == ["0", "1", "2", "3", "9"]
    assert [after[n]["answer"] for n in (0, 2, 3)] == [before[n]["answer"] for n in (0, 2, 3)]
    assert after[1]["answer"] != before[1]["answer"]
    assert all(row["_status"] == "answered" for row in after)
    history = ran(here, "jobs", "history", "nightly").json
    assert [run["reused"] for run in history] == [0, 3]


def test_a_rehearsal_is_never_taken_for_the_real_thing(here, at, tmp_path):
    words = ("run", "rows.csv", *PROMPT, "--id", "id", "-o")
    rehearsal = ran(here, *words, "rehearsal.csv", "--upstream", "sandbox")
    assert rehearsal.code == 0, rehearsal.stderr
    real = ran(here, *words, "real.csv", *at)
    assert real.json["job"] != rehearsal.json["job"]
    assert real.json["reused"] == 0


def test_fresh_begins_anew(here, at):
    words = ("run", "rows.csv", *PROMPT, "-o", "out.csv", *at)
    first = ran(here, *words)
    again = ran(here, *words)
    assert again.json["job"] == first.json["job"]
    assert "nothing is sent" in again.stderr
    anew = ran(here, *words, "--fresh", "--overwrite")
    assert anew.code == 0, anew.stderr
    assert anew.json["job"] != first.json["job"]


def test_rules_and_columns_pick_the_model(here, at):
    with (here / "rows.csv").open("w") as file:
        file.write("text,kind,model\na,hard,\nb,easy,own\nc,easy,\n")
    command = ran(here, "run", "rows.csv", "-p", "{{ text }}", "-m", "any", "--model-column", "model",
                  "--rule", "kind=hard:big", "-o", "out.csv", *at)  # fmt: skip
    assert command.code == 0, command.stderr
    record = json.loads(next((here / ".bulkrate/jobs").glob("*/job.json")).read_bytes())
    assert set(record["tokens"]) == {"any", "big", "own"}


def test_what_a_model_cannot_do_goes_on_to_a_better_one(here, at):
    write_rows(here / "rows.csv", ["good", "bad [[sandbox:status=400]]"])
    command = ran(here, "run", "rows.csv", *PROMPT, "--escalate", "big", "-o", "out.csv", *at)
    assert command.code == 6
    assert command.json["rounds"] == ["first", "escalate"]


def test_labels_are_counted(here, at):
    command = ran(here, "classify", "rows.csv", "-c", "text", "--labels", "good,bad", "-m", "m",
                  "-o", "out.csv", *at)  # fmt: skip
    told = command.json
    assert told["answered"] + told["failed"] == 5
    assert sum(told["values"].values()) == told["answered"]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("-p", "{{ txt }}"), 2, "'text'"),
        (("-p", "no column"), 2, "column"),
        (("-p", "{{ text }}", "--answer", "text"), 2, "--answer"),
        (("-p", "{{ text }}", "--id", "nope"), 2, "'nope'"),
        (("-p", "{{ text }}", "--rule", "nope=a:big"), 2, "'nope'"),
        (("-p", "{{ text }}", "--model-column", "nope"), 2, "'nope'"),
        (("-p", "{{ text }}", "--rule", "x"), 2, "COLUMN=VALUE:MODEL"),
        (("-p", "{{ text }}", "--fail-under", "200%"), 2, "--fail-under '200%' is no share"),
        (("-p", "{{ text }}", "--late-after", "soon"), 2, "--late-after 'soon' is no time"),
        (("-p", "@missing.txt"), 2, "missing.txt"),
        (("-p", "{{ text }}", "--no-such-flag"), 2, "--no-such-flag"),
        (("-p", "{{ text }}", "-o", "no/such/folder/out.csv"), 8, "no/such/folder"),
        (("-p", "{{ text }}", "-o", "out.xyz"), 8, "out.xyz"),
        (("-p", "{{ text }}", "--job", "nope"), 3, "nope"),
    ],
)
def test_what_does_not_fit_is_one_line_and_its_code(here, at, words, code, says):
    command = ran(here, "run", "rows.csv", "-m", "m", *at, *words)
    assert command.code == code, command.stderr
    assert says in command.stderr
    assert not list((here / ".bulkrate").glob("jobs/*/job.json"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "rows.csv"),
        (b"id,text\n", "no rows"),
        ("id,text\n1,grün\n".encode("latin-1"), "UTF-8"),
        (b"id,text\n1,a,b\n", "line 2"),
    ],
)
def test_rows_that_cannot_be_read_are_told(here, at, content, says):
    (here / "rows.csv").write_bytes(content)
    command = ran(here, "run", "rows.csv", *PROMPT, "-o", "out.csv", *at)
    assert command.code == 2
    assert says in command.stderr
    assert not list((here / ".bulkrate").glob("jobs/*"))


def test_a_missing_file_is_told(here, at):
    command = ran(here, "run", "none.csv", *PROMPT, *at)
    assert command.code == 2
    assert "none.csv" in command.stderr


def test_rows_with_the_same_key_are_told(here, at):
    write_rows(here / "rows.csv", ["a", "a"])
    command = ran(here, "run", "rows.csv", *PROMPT, "--id", "text", *at)
    assert command.code == 2
    assert "rows 1 and 2" in command.stderr


def test_an_output_that_is_there_is_not_written_over(here, at):
    (here / "out.csv").write_text("precious")
    command = ran(here, "run", "rows.csv", *PROMPT, "-o", "out.csv", *at)
    assert command.code == 8
    assert "--overwrite" in command.stderr
    assert (here / "out.csv").read_text() == "precious"


def test_nobody_there_is_told_with_its_code(here):
    command = ran(here, "run", "rows.csv", *PROMPT, "--upstream", "nonsense")
    assert command.code == 3, command.stderr


def test_a_wrong_key_is_told(here, tmp_path):
    command = ran(here, "run", "rows.csv", *PROMPT, "--server", "http://127.0.0.1:9/v1",
                  "--server-key", "env:NOT_SET")  # fmt: skip
    assert command.code == 3
    assert "NOT_SET" in command.stderr


def test_a_key_that_the_upstream_refuses_ends_the_job_and_the_right_one_goes_on(here):
    with running(sandbox("--key", "right")) as upstream, hosts_stopped(here / ".bulkrate"):
        words = ("run", "rows.csv", *PROMPT, "-o", "out.csv", "--upstream", upstream.url, "--upstream-key")
        refused = ran(here, *words, "env:WRONG", env={"WRONG": "wrong"})
        assert refused.code == 4, refused.stderr
        assert "does not accept our key" in refused.stderr
        assert "bulkrate resume" in refused.stderr
        mended = ran(here, *words, "env:RIGHT", env={"RIGHT": "right"})
        assert mended.code == 0, mended.stderr
        assert mended.json["answered"] == len(rows_of(here / "out.csv"))


def test_money_is_not_spent_unasked(here):
    words = ("run", "rows.csv", "-p", "{{ text }}", "-m", "gpt-4o-mini", "--max-tokens", "10", "-o", "o.csv")
    place = {"OPENAI_BASE_URL": "https://api.openai.com/v1", "OPENAI_API_KEY": "sk-none"}
    asked = ran(here, *words, env=place)
    assert asked.code == 9, asked.stderr
    assert "--yes" in asked.stderr
    limited = ran(here, *words, "--max-cost", "0.0", "--yes", env=place)
    assert limited.code == 9, limited.stderr


def test_a_full_disk_is_told_and_lost_is_nothing(here, at):
    write_rows(here / "rows.csv", [f"{n} " + "long text " * 40 for n in range(400)])
    words = ("run", "rows.csv", *PROMPT, "-o", "out.csv", *at)
    # No file may grow beyond 128 blocks of 512 bytes.
    cramped = ran(here, *words, prefix=("sh", "-c", 'ulimit -f 128; exec "$@"', "sh"))
    assert cramped.code in {8, 153}, cramped.stderr
    roomy = ran(here, *words)
    assert roomy.code == 0, roomy.stderr
    assert roomy.json["answered"] == 400


def test_on_a_terminal_it_speaks_to_people(here, at):
    screen, status = on_a_terminal(here, "run", "rows.csv", *PROMPT, "-o", "out.csv", *at)
    assert status == 0, screen
    assert "5 answered" in screen
    assert '"answered"' not in screen


def on_a_terminal(cwd: Path, *words: str, seconds: float = 60) -> tuple[str, int]:
    """What is seen of a command, and its exit code."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(cwd)
        os.execve(sys.executable, [sys.executable, "-m", "bulkrate", *words], environment({"TERM": "xterm"}))
    seen = b""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not select.select([terminal], [], [], 0.1)[0]:
            continue
        try:
            seen += os.read(terminal, 4096)
        except OSError:  # the other side is closed
            break
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    return seen.decode(errors="replace"), os.waitstatus_to_exitcode(status)


def test_a_watcher_may_stop_without_stopping_the_job(here, at):
    write_rows(here / "rows.csv", ["a [[sandbox:sleep_ms=9000]]"])
    assert ran(here, "run", "rows.csv", *PROMPT, "-o", "out.csv", *at, "--detach").code == 0
    early = ran(here, "results", "-o", "-")
    assert json.loads(early.stdout)["_status"] == "pending"
    assert ran(here, "watch", "--timeout", "0.1s").code == 7
    assert ran(here, "watch").code == 0
    assert rows_of(here / "out.csv")[0]["_status"] == "answered"


def test_old_jobs_are_pruned(here, at):
    assert ran(here, "run", "rows.csv", *PROMPT, "-o", "out.csv", *at).code == 0
    assert ran(here, "prune").code == 0
    assert len(ran(here, "jobs").json) == 1
    assert ran(here, "prune", "--older-than", "0s", "--yes").code == 0
    assert ran(here, "jobs").json == []
    assert (here / "out.csv").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_may_be_stopped_while_it_reads_and_says_how_to_go_on(here, at, number, code):
    """Until there was a job it ended without a word."""
    command = Command(here, "run", "-", *PROMPT, "-o", "out.csv", *at)
    command.popen.stdin.write(b"text\n" + b"a row\n" * 1_000_000)  # more than is looked at beforehand
    command.popen.stdin.flush()
    wait_until(lambda: list((here / ".bulkrate").glob("jobs/*/lock")), bool)
    command.send(number)
    assert command.end() == code
    assert "The same command goes on" in command.stderr
    assert not list((here / ".bulkrate").glob("jobs/*"))


def test_it_may_be_stopped_while_it_is_loaded():
    """Ctrl-C in the first tenths of a second was told as a fault of ours, with a traceback."""
    code = """
import os, signal, sys
from bulkrate.cli import main

class CtrlC:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, CtrlC())
main()
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (130, "")


def test_modules_of_the_users_own_do_not_get_into_the_engine(here):
    (here / "json.py").write_text("raise SystemExit('not yours')")
    command = Command(here, "run", "rows.csv", *PROMPT, "-o", "out.csv", "--upstream", "sandbox",
                      env={"PYTHONSAFEPATH": "1"})  # fmt: skip  # as the installed command runs
    with hosts_stopped(here / ".bulkrate"):
        assert command.end() == 0, command.stderr

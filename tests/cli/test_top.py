"""`bulkrate top`: the picture, and what it says when there is nothing to show."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import re
import select
import subprocess
import sys
from typing import Any

import msgspec
import pytest
from rich.console import Console

from bulkrate.cli.screen import gone, picture
from bulkrate.core.numbers import BatchNumbers, Numbers, ProcessNumbers, batch_pace, pace
from bulkrate.core.stats import CommitStats, UpstreamStats
from bulkrate.providers.usage import Usage
from tests.support.processes import Server, chat_line, jsonl, running, submit, wait_until

GONE = "http://127.0.0.1:9"


def upstream(answers: int = 0, *, failures: int = 0, **now: Any):
    stats = UpstreamStats()
    for _ in range(answers):
        stats.answered(0.9, Usage(10, 0, 5, 0, 15))
    for _ in range(failures):
        stats.ended("connection_lost", 1.0)
    known = {"in_flight": 3, "window": 64, "mode": "blind", "state": "ok", "reason": None, "waiting": 0}
    return stats.snapshot(**(known | now))


def batch(name: str = "1", **fields: Any) -> BatchNumbers:
    known = {
        "id": f"batch_{name:0>32}",
        "project": "default",
        "status": "in_progress",
        "model": "qwen",
        "total": 1_000,
        "answered": 250,
        "failed": 0,
        "in_flight": 10,
        "pending": 740,
        "lines_per_s": 0.0,
        "age_s": 60.0,
        "deadline_s": 3_600.0,
        "remaining_s": None,
        "waiting": None,
    }
    return BatchNumbers(**(known | fields))


def numbers(at: float = 100.0, **fields: Any) -> Numbers:
    known = {
        "version": "1.2.3",
        "at": at,
        "processes": {"server": ProcessNumbers(up=True)},
        "upstreams": {},
        "commits": CommitStats().snapshot(queued=0),
    }
    return Numbers(**(known | fields))


def drawn(now: Numbers, before: Numbers, *, width: int = 120, height: int | None = None) -> str:
    console = Console(width=width, height=height or 100, file=io.StringIO())
    console.print(picture(now, before, "http://host", width=width, height=height))
    return console.file.getvalue()


def row_of(name: str, screen: str) -> list[str]:
    (line,) = [line for line in screen.splitlines() if line.startswith(name)]
    return re.split(r"\s{2,}", line.strip())


def test_rates_and_latencies_are_of_the_time_between_two_looks():
    before = numbers(100.0, upstreams={"gpu": upstream(10)})
    now = numbers(102.0, upstreams={"gpu": upstream(30, failures=4)})
    seen = pace(now, before, "gpu")
    assert seen.answers_per_s == pytest.approx(10.0)
    assert seen.tokens_per_s == pytest.approx(150.0)
    assert 0.75 <= seen.p50_s <= seen.p95_s <= 1.0
    assert seen.failures == {"connection_lost": 4}


def test_a_batch_goes_as_fast_as_it_was_seen_to_and_a_new_one_as_fast_as_it_is_said():
    first = numbers(100.0, batches=[batch(answered=100)])
    then = numbers(110.0, batches=[batch(answered=140, failed=10)])
    assert batch_pace(then, first, then.batches[0]) == pytest.approx(5.0)
    assert batch_pace(then, numbers(100.0), batch(lines_per_s=7.0)) == 7.0


def test_the_picture_tells_of_upstreams_and_batches():
    before = numbers(100.0, upstreams={"gpu-1": upstream(0)}, batches=[batch(answered=230)])
    now = numbers(
        102.0,
        upstreams={"gpu-1": upstream(20, failures=3), "gpu-2": upstream(state="out", reason="no connection")},
        batches=[batch(failed=5)],
        batches_by_status={"in_progress": 1, "completed": 7},
    )
    screen = drawn(now, before)
    assert "bulkrate 1.2.3  http://host   1 running, 7 ended" in screen
    assert row_of("gpu-1", screen)[1:6] == ["ok", "blind", "3/64", "10.0", "150"]
    assert row_of("gpu-1", screen)[-1] == "connection lost 3"
    assert row_of("gpu-2", screen)[-1] == "no connection"
    # 745 lines at 12.5 a second.
    assert row_of("batch_0", screen)[1:] == [
        *("in_progress", "255", "1,000", "26", "5", "12.5", "1m00s", "59m00s", "qwen")
    ]


def test_a_batch_that_will_be_late_has_negative_slack():
    before = numbers(100.0, batches=[batch(answered=248)])
    now = numbers(102.0, batches=[batch(deadline_s=60.0)])
    assert row_of("batch_0", drawn(now, before))[-2] == "-11m30s"


def test_the_busiest_come_first():
    before = numbers(100.0, upstreams={name: upstream(0) for name in "abc"})
    now = numbers(101.0, upstreams={"a": upstream(1), "b": upstream(9), "c": upstream(5)})
    lines = [line[0] for line in drawn(now, before).splitlines() if line[:2] in {"a ", "b ", "c "}]
    assert lines == ["b", "c", "a"]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 14), (200, 50), (100, 12)])
def test_the_picture_fits_the_terminal(width, height):
    now = numbers(
        102.0,
        upstreams={f"upstream-{n}": upstream(n) for n in range(300)},
        batches=[batch(str(n)) for n in range(1_000)],
    )
    lines = drawn(now, numbers(), width=width, height=height).splitlines()
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    assert "more upstreams" in "".join(lines)
    assert "more batches" in "".join(lines)


def test_trouble_of_a_process_is_told_at_the_top():
    troubled = {
        "sender-0": ProcessNumbers(up=True, trouble="the disk is full"),
        "clerk": ProcessNumbers(up=False),
    }
    screen = drawn(numbers(processes=troubled, records_up=False), numbers())
    assert "sender-0: the disk is full" in screen
    assert "clerk: not at work" in screen
    assert "the records cannot be read" in screen


def test_the_last_picture_stays_under_the_word_that_the_server_is_gone():
    console = Console(width=100, file=io.StringIO())
    console.print(gone("no server answers at http://host: Connection refused", "the picture"))
    assert console.file.getvalue().splitlines() == [
        "no server answers at http://host: Connection refused; trying again",
        "the picture",
    ]


# --- the command ---


def test_without_a_server_it_says_so_in_one_line(typed):
    for flags in (("--once",), ("--json",)):
        ran = typed("top", "--server", GONE, *flags)
        assert (ran.exit_code, ran.stdout) == (1, "")
        assert ran.stderr == f"bulkrate: no server answers at {GONE}: Connection refused\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--server", "localhost:8080"), "give the whole address"),
        (("--key", "sk-secret"), "env:NAME"),
        (("--key", "env:NOT_SET"), "NOT_SET"),
    ],
)
def test_a_wrong_flag_is_named(typed, words, told):
    ran = typed("top", *words, "--json")
    assert (ran.exit_code, ran.stdout) == (3, "")
    assert told in ran.stderr
    assert "sk-secret" not in ran.stderr


@pytest.mark.server
def test_a_missing_key_is_told_from_a_wrong_one(typed, data, monkeypatch):
    monkeypatch.setenv("SCRAPER", "sk-wrong")
    with running(Server(data, env={"BULKRATE_METRICS_KEY": "env:SCRAPER", "SCRAPER": "sk-right"})) as server:
        for flags, told in (((), "asks for a key"), (("--key", "env:SCRAPER"), "does not take this key")):
            ran = typed("top", "--server", server.root, "--once", *flags)
            assert (ran.exit_code, ran.stdout) == (3, "")
            assert f"{server.root} {told}; give the one that its 'metrics_key' names" in ran.stderr
            assert "sk-wrong" not in ran.stderr


@pytest.mark.server
def test_json_is_what_the_server_tells(typed, server):
    ran = typed("top", "--server", server.url, "--json")
    assert ran.exit_code == 0
    told = msgspec.json.decode(ran.stdout, type=Numbers)
    assert set(told.processes) >= {"server", "clerk"}
    assert json.loads(ran.stdout)["records_up"] is True


@pytest.mark.server
def test_one_picture_is_printed_where_there_is_no_terminal(typed, server):
    ran = typed("top", "--server", server.root)
    assert ran.exit_code == 0
    assert "upstream-1" in ran.stdout
    assert "BATCH" in ran.stdout
    assert "\x1b" not in ran.stdout


@pytest.mark.server
def test_on_a_terminal_it_is_live_until_q(server: Server):
    running = submit(server.client, jsonl(chat_line("one", "[[sandbox:sleep_ms=60000]]")))
    main, side = pty.openpty()
    env = os.environ | {"COLUMNS": "120", "LINES": "30", "TERM": "xterm"}
    command = [sys.executable, "-m", "bulkrate", "top", "--server", server.root]
    process = subprocess.Popen(command, stdin=side, stdout=side, stderr=subprocess.PIPE, env=env)
    os.close(side)
    seen = b""

    def read() -> bytes:
        nonlocal seen
        if select.select([main], [], [], 0)[0]:
            seen += os.read(main, 65_536)
        return seen

    try:
        wait_until(read, lambda seen: running.id.encode() in seen)
        pictures = seen.count(b"UPSTREAM")
        wait_until(read, lambda seen: seen.count(b"UPSTREAM") > pictures)
        os.write(main, b"q")
        with contextlib.suppress(OSError):  # so the terminal says that nobody has it any more
            while os.read(main, 65_536):
                pass
        assert process.wait(30) == 0
    finally:
        process.kill()
        _, told = process.communicate()
        os.close(main)
    server.client.batches.cancel(running.id)
    assert told == b""

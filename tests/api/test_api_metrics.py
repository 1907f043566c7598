"""/metrics of a real server: what a running batch moves, who may read it, and that nothing goes back."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.http import Http
from tests.support.processes import (
    Process,
    Server,
    chat_line,
    jsonl,
    running,
    submit,
    wait_until,
    wait_until_ended,
)

pytestmark = pytest.mark.server

LINES = 40


def seen(http: Http, name: str, **labels: str) -> dict[tuple[str, ...], float]:
    """The samples of this name and these labels, by the values of all their labels."""
    answer = http.get("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        tuple(sample.labels[key] for key in sorted(sample.labels)): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    }


def total(http: Http, name: str, **labels: str) -> float:
    return sum(seen(http, name, **labels).values())


@pytest.fixture
def own(data: Path, upstream: Process) -> Iterator[Server]:
    """A server of the test's own, with one upstream under a name."""
    env = {"BULKRATE_UPSTREAMS__GPU__URL": upstream.url, "BULKRATE_UPSTREAMS__GPU__MAX_IN_FLIGHT": "4"}
    with running(Server(data, env=env)) as server:
        yield server


def batch_of(server: Server, *lines: Any) -> Any:
    return submit(server.client, jsonl(*lines))


def test_a_batch_is_counted_at_its_upstream_and_in_commits(own: Server):
    http = Http(own.port)
    lines = [chat_line(str(n)) for n in range(LINES)]
    wait_until_ended(own.client, batch_of(own, *lines, chat_line("bad", "[[sandbox:status=400]]")).id)
    answered = wait_until(
        lambda: total(http, "bulkrate_upstream_attempts_total", outcome="answered"), lambda n: n >= LINES
    )
    assert answered == LINES
    assert seen(http, "bulkrate_upstream_attempts_total", outcome="refused") == {("refused", "gpu"): 1}
    assert seen(http, "bulkrate_upstream_latency_seconds_count") == {("gpu",): LINES}
    assert total(http, "bulkrate_upstream_output_tokens_total") > 0
    assert total(http, "bulkrate_commit_lines_total") == LINES + 1
    assert total(http, "bulkrate_commit_fsync_seconds_count") == total(http, "bulkrate_commits_total") > 0
    assert seen(http, "bulkrate_batches", status="completed") == {("completed",): 1}
    assert seen(http, "bulkrate_batch_info") == {}
    assert set(seen(http, "bulkrate_process_up").values()) == {1.0}


def test_a_running_batch_tells_its_lines_and_its_upstream_what_is_in_flight(own: Server):
    http = Http(own.port)
    batch = batch_of(own, *(chat_line(str(n), "[[sandbox:sleep_ms=600000]]") for n in range(10)))
    wait_until(lambda: seen(http, "bulkrate_upstream_in_flight"), lambda seen: seen == {("gpu",): 4})
    lines = wait_until(
        lambda: seen(http, "bulkrate_batch_lines", batch=batch.id),
        lambda lines: lines.get((batch.id, "in_flight")) == 4,
    )
    assert lines == {(batch.id, state): n for state, n in ANSWERED_NONE.items()}
    assert seen(http, "bulkrate_batch_info") == {(batch.id, "gpt-4o-mini", "default", "in_progress"): 1}
    (left,) = seen(http, "bulkrate_batch_deadline_seconds").values()
    assert 86_000 < left <= 86_400


ANSWERED_NONE = {"answered": 0, "failed": 0, "in_flight": 4, "pending": 6}


def test_no_counter_goes_back_when_a_sender_is_killed(own: Server):
    http = Http(own.port)
    wait_until_ended(own.client, batch_of(own, *(chat_line(str(n)) for n in range(LINES))).id)
    names = (
        "bulkrate_upstream_attempts_total",
        "bulkrate_commit_lines_total",
        "bulkrate_process_cpu_seconds_total",
    )
    wait_until(lambda: total(http, names[0]), lambda n: n >= LINES)
    before = {name: seen(http, name) for name in names}
    (sender,) = [role for (role,) in before[names[2]] if role.startswith("sender")]

    dead = own.child(sender)
    os.kill(dead, signal.SIGKILL)
    wait_until(lambda: own.child(sender), lambda pid: pid != dead)
    wait_until_ended(own.client, batch_of(own, *(chat_line(str(n)) for n in range(LINES))).id)
    wait_until(lambda: total(http, names[0]), lambda n: n >= 2 * LINES)
    for name in names:
        after = seen(http, name)
        assert all(after[key] >= value for key, value in before[name].items()), name


def test_a_process_that_is_stopped_is_told_as_not_at_work(own: Server):
    http = Http(own.port)
    wait_until(lambda: seen(http, "bulkrate_process_up", process="clerk"), lambda up: up == {("clerk",): 1})
    clerk = own.child("clerk")
    os.kill(clerk, signal.SIGSTOP)
    try:
        wait_until(
            lambda: seen(http, "bulkrate_process_up", process="clerk"), lambda up: up == {("clerk",): 0}
        )
    finally:
        os.kill(clerk, signal.SIGCONT)


def test_openmetrics_and_json_come_to_who_asks_for_them(server: Server):
    http = Http(server.port)
    openmetrics = http.get("/metrics", accept="application/openmetrics-text")
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
    assert openmetrics.body.endswith(b"# EOF\n")
    told = http.get("/metrics", accept="application/json")
    assert told.headers["content-type"] == "application/json"
    assert told.json["records_up"] is True


def test_with_a_key_of_its_own_nobody_else_reads_it(data: Path, upstream: Process):
    env = {"BULKRATE_METRICS_KEY": "env:SCRAPER", "SCRAPER": "sk-scraper"}
    with running(Server(data, upstream.url, env=env)) as server:
        http = Http(server.port)
        assert http.get("/metrics").status == 401
        refused = http.get("/metrics", authorization="Bearer sk-wrong")
        assert (refused.status, "sk-wrong" in refused.error["message"]) == (401, False)
        assert http.get("/metrics", authorization="Bearer sk-scraper").status == 200
        assert http.get("/health").status == 200

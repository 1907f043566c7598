"""One line's failure: a final one stands in the error file as the upstream told it, others are retried."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.crash.accounting import Journal, check_all_answered, check_books, check_ended, fresh_ids, line
from tests.crash.servers import narrow, paused
from tests.support.processes import (
    Process,
    Server,
    jsonl,
    lines_of,
    running,
    submit,
    wait_until,
    wait_until_ended,
)

pytestmark = pytest.mark.server

ATTEMPTS = 3
QUICK = {
    "BULKRATE_RETRY__ATTEMPTS_MAX": str(ATTEMPTS),
    "BULKRATE_RETRY__BACKOFF_S_MIN": "0.01",
    "BULKRATE_RETRY__BACKOFF_S_MAX": "0.05",
}


@pytest.fixture(scope="module")
def server(upstream: Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that tries three times, quickly, and waits one and a half seconds for an answer."""
    url = {"BULKRATE_UPSTREAMS__IT__URL": upstream.url, "BULKRATE_UPSTREAMS__IT__TIMEOUT_S": "1.5"}
    with running(Server(tmp_path_factory.mktemp("data"), env=QUICK | url)) as process:
        yield process


class Outcome:
    """What a line with a directive came to, in a batch with two lines that fare well."""

    def __init__(self, server: Server, journal: Journal, directive: str) -> None:
        first, custom_id, last = ids = fresh_ids(3)
        lines = (line(first), line(custom_id, directive), line(last))
        batch = submit(server.client, jsonl(*lines))
        batch = check_ended(server, batch.id, ids)
        self.calls = journal.counts(ids)[custom_id]
        assert journal.total(ids) == self.calls + 2, "the other lines had to be sent again"
        answers = [
            (answer, file_id == batch.output_file_id)
            for file_id in (batch.output_file_id, batch.error_file_id)
            for answer in lines_of(server.client, file_id)
        ]
        self.line, self.answered = next(found for found in answers if found[0]["custom_id"] == custom_id)

    @property
    def status(self) -> Any:
        return self.line["response"] and self.line["response"]["status_code"]

    @property
    def body(self) -> Any:
        return self.line["response"]["body"]

    @property
    def code(self) -> Any:
        return self.line["error"] and self.line["error"]["code"]


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_a_refused_line_keeps_the_upstreams_status_and_body(
    status: int, server: Server, journal: Journal
) -> None:
    outcome = Outcome(server, journal, f"[[sandbox:status={status}]]")
    assert (outcome.answered, outcome.calls, outcome.status, outcome.code) == (False, 1, status, None)
    assert outcome.body["error"]["message"]


@pytest.mark.parametrize("failure", ["status=500", "status=502", "status=408", "status=409", "html=504"])
def test_a_line_that_always_fails_for_now_is_given_up_with_the_last_answer(
    failure: str, server: Server, journal: Journal
) -> None:
    outcome = Outcome(server, journal, f"[[sandbox:{failure}]]")
    assert (outcome.answered, outcome.calls, outcome.status) == (False, ATTEMPTS, int(failure[-3:]))
    assert outcome.body["error"]["message"]


def test_a_line_that_our_key_is_refused_for_stops_nobody(upstream: Process, data: Path) -> None:
    """The line came first, and stopped its upstream whenever it was on trial; it never ended."""
    bad, *good = fresh_ids(101)
    env = QUICK | {"BULKRATE_UPSTREAMS__IT__URL": upstream.url}
    with running(Server(data, env=env)) as server:
        refused = submit(server.client, jsonl(line(bad, "[[sandbox:status=401]]")))
        wait_until(partial(paused, server, refused.id), lambda why: why and "our key" in why)
        batch = submit(server.client, jsonl(*map(line, good)))
        check_all_answered(server, batch.id, good)
        told = lines_of(server.client, wait_until_ended(server.client, refused.id).error_file_id)
        assert [(each["custom_id"], each["response"]["status_code"]) for each in told] == [(bad, 401)]


def test_a_retry_after_does_not_let_a_line_be_tried_for_ever(server: Server, journal: Journal) -> None:
    """A 500 with Retry-After was never counted as an attempt."""
    outcome = Outcome(server, journal, "[[sandbox:status=500,retry_after=1]]")
    assert (outcome.answered, outcome.calls, outcome.status) == (False, ATTEMPTS, 500)


@pytest.mark.parametrize(
    ("directive", "code"),
    [
        ("sleep_ms=700,drop", "connection_lost"),
        ("truncate", "connection_lost"),
        ("reset", "connection_lost"),
        ("slow=5000", "request_timeout"),
        ("garbage", "invalid_answer"),
        ("sleep_ms=5000", "request_timeout"),
    ],
)
def test_a_line_that_never_gets_a_whole_answer_is_given_up_with_a_code(
    directive: str, code: str, server: Server, journal: Journal
) -> None:
    outcome = Outcome(server, journal, f"[[sandbox:{directive}]]")
    assert (outcome.answered, outcome.calls, outcome.status, outcome.code) == (False, ATTEMPTS, None, code)


@pytest.mark.parametrize(
    "failure", ["status=500", "drop", "truncate", "reset", "slow=5000", "garbage", "html=502", "status=425"]
)
def test_a_failure_that_passes_costs_a_line_nothing(failure: str, server: Server, journal: Journal) -> None:
    outcome = Outcome(server, journal, f"[[sandbox:fail_first=2,{failure}]]")
    assert (outcome.answered, outcome.calls, outcome.status) == (True, 3, 200)


@pytest.mark.parametrize("failure", ["status=429", "status=429,retry_after=0", "status=503"])
def test_a_busy_upstream_is_asked_more_often_than_a_failing_one(
    failure: str, server: Server, journal: Journal
) -> None:
    outcome = Outcome(server, journal, f"[[sandbox:fail_first={ATTEMPTS + 3},{failure}]]")
    assert (outcome.answered, outcome.calls) == (True, ATTEMPTS + 4)


def test_lines_that_alone_are_refused_for_want_of_capacity_are_given_up_with_the_upstreams_words(
    data: Path, upstream: Process
) -> None:
    """They used to be tried until the window closed. One of them also had the upstream held, each time."""
    ids = fresh_ids(20_000)
    refused = {ids[10]: "[[sandbox:status=503]]", ids[20]: "[[sandbox:status=429,retry_after=1]]"}
    lines = jsonl(*(line(custom_id, refused.get(custom_id, "hello")) for custom_id in ids))
    patience = {"BULKRATE_RETRY__ATTEMPTS_MAX": "1", "BULKRATE_RETRY__BACKOFF_S_MAX": "1"}
    with running(Server(data, env=narrow(upstream.url, 4, **patience))) as server:
        batch = submit(server.client, lines)
        counts = wait_until(
            lambda: server.client.batches.retrieve(batch.id).request_counts, lambda counts: counts.failed == 2
        )
        assert counts.completed < len(ids) - 2, "they must be given up while others are answered"
        server.client.batches.cancel(batch.id)
        batch = wait_until_ended(server.client, batch.id)
        check_books(server.client, batch.id, ids)
        told = {answer["custom_id"]: answer for answer in lines_of(server.client, batch.error_file_id)}
    for custom_id, status in zip(refused, (503, 429), strict=True):
        assert told[custom_id]["response"]["status_code"] == status
        assert told[custom_id]["response"]["body"]["error"]["message"]


def test_an_answer_over_several_lines_becomes_one_line(server: Server, journal: Journal) -> None:
    outcome = Outcome(server, journal, "[[sandbox:pretty]]")
    assert outcome.answered
    assert outcome.body["choices"]


def test_an_answer_of_twenty_megabytes_comes_back_whole(server: Server, journal: Journal) -> None:
    outcome = Outcome(server, journal, "[[sandbox:bytes=20000000]]")
    assert outcome.answered
    assert len(outcome.body["sandbox_padding"]) > 19_900_000


def test_a_thousand_lines_with_every_fault_are_all_accounted_for(server: Server, journal: Journal) -> None:
    ids = fresh_ids(1_000)
    faults = ("", "[[sandbox:status=400]]", "[[sandbox:fail_first=1,drop]]", "[[sandbox:garbage]]", "")
    lines = [line(custom_id, faults[number % len(faults)]) for number, custom_id in enumerate(ids)]
    batch = wait_until_ended(server.client, submit(server.client, jsonl(*lines)).id)
    check_books(server.client, batch.id, ids)
    assert (batch.request_counts.completed, batch.request_counts.failed) == (600, 400)

"""Upstreams that say "not now", die and come back, or have a certificate of their own: no line pays."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.accounting import Journal, check_all_answered, check_books, fresh_ids, input_of, line
from tests.crash.servers import ONE_ATTEMPT
from tests.support.http import Http
from tests.support.processes import Process, Server, jsonl, running, sandbox, submit, wait_until_ended
from tests.support.relay import Authority, relaying

pytestmark = pytest.mark.server

LINES = 300


def test_a_private_authority_is_trusted_where_the_environment_names_it(
    data: Path, upstream: Process, journal: Journal, authority: Authority
) -> None:
    certificate = authority.certify("private", "IP:127.0.0.1")
    ids = fresh_ids(LINES)
    env = {"SSL_CERT_FILE": str(authority.certificate), **ONE_ATTEMPT}
    with (
        relaying(upstream.port, certificate=certificate) as port,
        running(Server(data, f"https://127.0.0.1:{port}/v1", env=env)) as server,
    ):
        check_all_answered(server, submit(server.client, input_of(ids)).id, ids, journal)


# --- too many ---


@pytest.mark.parametrize("hint", ["", ",retry_after=1"])
def test_a_storm_of_429_costs_no_line_anything(
    hint: str, data: Path, upstream: Process, journal: Journal
) -> None:
    ids = fresh_ids(30)  # each Retry-After holds all of them, and the window is narrow by then
    env = {"BULKRATE_RETRY__BACKOFF_S_MIN": "0.01", **ONE_ATTEMPT}
    with running(Server(data, upstream.url, env=env)) as server:
        batch = submit(server.client, input_of(ids, f"[[sandbox:fail_first=2,status=429{hint}]]"))
        check_all_answered(server, batch.id, ids, journal)
    assert set(journal.counts(ids).values()) == {3}


# --- an upstream that dies, and dies again ---


def crash(upstream: Process) -> None:
    """Kill the upstream as one of its lines would."""
    asked = line("killer", "[[sandbox:crash]]")["body"]
    with pytest.raises(ConnectionError):
        Http(upstream.port).post("/v1/chat/completions", asked)


def test_an_upstream_that_restarts_in_a_loop_fails_no_line(data: Path, tmp_path: Path) -> None:
    journal, ids = Journal(tmp_path / "journal"), fresh_ids(1_500)
    flags = ("--restart-s", "0.2", "--latency-ms", "20", "--journal", str(journal.path))
    with running(sandbox(*flags)) as upstream, running(Server(data, upstream.url)) as server:
        batch = submit(server.client, input_of(ids))
        for calls in (100, 400, 700, 1_000):
            journal.wait_for_calls(ids, calls)
            crash(upstream)
        check_all_answered(server, batch.id, ids, journal)


def test_a_line_that_kills_its_upstream_takes_no_other_line_with_it(data: Path, tmp_path: Path) -> None:
    journal, ids = Journal(tmp_path / "journal"), fresh_ids(300)
    flags = ("--restart-s", "0.1", "--latency-ms", "20", "--journal", str(journal.path))
    lines = [line(custom_id) for custom_id in ids]
    lines[150] = line(ids[150], "[[sandbox:sleep_ms=10,crash]]")
    with running(sandbox(*flags)) as upstream, running(Server(data, upstream.url)) as server:
        batch = wait_until_ended(server.client, submit(server.client, jsonl(*lines)).id)
        check_books(server.client, batch.id, ids)
        assert (batch.status, batch.request_counts.failed) == ("completed", 1)

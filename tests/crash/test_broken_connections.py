"""Connections that cannot be made, or are closed under us: the user is told why, and no line pays."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.accounting import Journal, check_all_answered, check_ended, fresh_ids, input_of
from tests.crash.servers import ONE_ATTEMPT, paused
from tests.support.processes import Process, Server, running, sandbox, submit, wait_until
from tests.support.relay import Authority, relaying

pytestmark = pytest.mark.server

LINES = 300


def says_why(server: Server, batch_id: str, reason: str) -> None:
    """The batch and /health both say why nothing moves."""
    assert reason in wait_until(lambda: paused(server, batch_id), bool)
    health = server.get("/health")
    assert health["status"] == "degraded"
    assert any(reason in told for told in health["reasons"])


# --- closed under us ---


def test_connections_closed_at_any_moment_while_idle_cost_no_line_an_attempt(
    data: Path, tmp_path: Path
) -> None:
    journal, ids = Journal(tmp_path / "journal"), fresh_ids(3_000)
    flags = ("--idle-ms", "3", "--latency-ms", "5", "--latency-spread", "1", "--journal", str(journal.path))
    with running(sandbox(*flags)) as upstream, running(Server(data, upstream.url, env=ONE_ATTEMPT)) as server:
        check_all_answered(server, submit(server.client, input_of(ids)).id, ids, journal)


def test_connections_closed_after_every_answer_cost_no_line_an_attempt(
    data: Path, upstream: Process, journal: Journal
) -> None:
    ids = fresh_ids(1_500)
    with running(Server(data, upstream.url, env=ONE_ATTEMPT)) as server:
        batch = submit(server.client, input_of(ids, "[[sandbox:close]]"))
        check_all_answered(server, batch.id, ids, journal)


# --- never made ---


def test_a_host_without_an_address_is_told_as_such(data: Path) -> None:
    ids = fresh_ids(3)
    with running(Server(data, "http://nowhere.invalid/v1", env=ONE_ATTEMPT)) as server:
        batch = submit(server.client, input_of(ids))
        says_why(server, batch.id, "has no address")
        server.client.batches.cancel(batch.id)
        check_ended(server, batch.id, ids, "cancelled")


def test_a_certificate_that_nobody_vouches_for_is_told_as_such(
    data: Path, upstream: Process, authority: Authority
) -> None:
    certificate = authority.certify("self", "IP:127.0.0.1")
    ids = fresh_ids(3)
    with (
        relaying(upstream.port, certificate=certificate) as port,
        running(Server(data, f"https://127.0.0.1:{port}/v1", env=ONE_ATTEMPT)) as server,
    ):
        batch = submit(server.client, input_of(ids))
        says_why(server, batch.id, "certificate is not trusted")
        server.client.batches.cancel(batch.id)
        check_ended(server, batch.id, ids, "cancelled")


def test_a_batch_waits_until_the_certificate_is_for_the_right_host(
    data: Path, upstream: Process, journal: Journal, authority: Authority
) -> None:
    wrong, right = (
        authority.certify("wrong", "DNS:elsewhere.test"),
        authority.certify("right", "IP:127.0.0.1"),
    )
    ids = fresh_ids(LINES)
    env = {"SSL_CERT_FILE": str(authority.certificate), **ONE_ATTEMPT}
    with relaying(upstream.port, certificate=wrong) as port:
        server = Server(data, f"https://127.0.0.1:{port}/v1", env=env)
        with running(server):
            batch = submit(server.client, input_of(ids))
            says_why(server, batch.id, "certificate is for another host")
    # The same port again, now with the certificate that was meant; another server, since the first has ended.
    with (
        relaying(upstream.port, port=port, certificate=right),
        running(Server(data, f"https://127.0.0.1:{port}/v1", env=env)) as server,
    ):
        check_all_answered(server, batch.id, ids, journal)


def test_a_server_that_speaks_plain_http_where_tls_is_asked_for_is_told_as_such(
    data: Path, upstream: Process
) -> None:
    ids = fresh_ids(3)
    url = upstream.url.replace("http:", "https:")
    with running(Server(data, url, env=ONE_ATTEMPT)) as server:
        batch = submit(server.client, input_of(ids))
        says_why(server, batch.id, "does not speak TLS")


# --- too many ---


def test_an_upstream_with_a_rate_limit_is_not_flooded(data: Path, tmp_path: Path) -> None:
    journal, ids = Journal(tmp_path / "journal"), fresh_ids(2_000)
    with (
        running(sandbox("--rate-limit", "400", "--journal", str(journal.path))) as upstream,
        running(Server(data, upstream.url, env=ONE_ATTEMPT)) as server,
    ):
        check_all_answered(server, submit(server.client, input_of(ids)).id, ids, journal)
    print(f"{journal.total(ids)} calls for {len(ids)} lines")
    assert journal.total(ids) <= 1.2 * len(ids)

"""Upstreams that are away for minutes, behind a gateway or by their name too, and come back by themselves."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.crash.accounting import Journal, check_all_answered, check_books, fresh_ids, input_of, line
from tests.crash.servers import ONE_ATTEMPT, narrow, paused, sandbox_at
from tests.support.clock import Clock
from tests.support.gateway import gateway
from tests.support.names import Names
from tests.support.processes import (
    Server,
    free_port,
    jsonl,
    lines_of,
    running,
    sandbox,
    submit,
    wait_until,
    wait_until_ended,
)

pytestmark = pytest.mark.server

MINUTES_S = 300
WINDOW = 16
HOST = "engine.test"


def check_sent_once(journal: Journal, ids: list[str]) -> None:
    """Only what was in flight went twice, when the upstream died or a moved clock took a lease for lapsed."""
    assert journal.total(ids) - len(ids) <= 3 * WINDOW


def test_an_upstream_that_refuses_connections_for_minutes_costs_no_line_anything(
    data: Path, tmp_path: Path
) -> None:
    port, journal, ids, clock = free_port(), Journal(tmp_path / "journal"), fresh_ids(400), Clock(tmp_path)
    with running(
        Server(data, env=narrow(f"http://127.0.0.1:{port}/v1", WINDOW, **ONE_ATTEMPT, **clock.env))
    ) as server:
        with running(sandbox_at(port, journal.path)) as upstream:
            batch = submit(server.client, input_of(ids))
            journal.wait_for_calls(ids, 100)
            upstream.kill()
        wait_until(partial(paused, server, batch.id), lambda why: why and "no connection" in why)
        clock.move(MINUTES_S)
        wait_until(partial(paused, server, batch.id), lambda why: why and "no connection" in why)
        with running(sandbox_at(port, journal.path)):
            check_all_answered(server, batch.id, ids)
            wait_until(lambda: server.get("/health")["status"], lambda status: status == "ok")
    check_sent_once(journal, ids)


@pytest.mark.parametrize(
    ("status", "keeps_list"),
    [(502, False), (500, True), (502, True)],
    ids=["all-gone", "list-stays-500", "list-stays-502"],
)
def test_an_outage_behind_a_gateway_that_stays_up_costs_no_line_anything(
    status: int, keeps_list: bool, data: Path, tmp_path: Path
) -> None:
    port, journal, ids, clock = free_port(), Journal(tmp_path / "journal"), fresh_ids(400), Clock(tmp_path)
    with (
        gateway(port, status=status, keeps_list=keeps_list) as between,
        running(sandbox_at(port, journal.path)) as upstream,
        running(Server(data, env=narrow(between.url, WINDOW, **clock.env))) as server,
    ):
        batch = submit(server.client, input_of(ids))
        journal.wait_for_calls(ids, 100)
        upstream.kill()
        wait_until(lambda: between.alone, lambda alone: alone > WINDOW)
        clock.move(MINUTES_S)
        since = between.alone
        wait_until(lambda: between.alone - since, lambda more: more > (WINDOW if keeps_list else 1))
        with running(sandbox_at(port, journal.path)):
            check_all_answered(server, batch.id, ids)
    check_sent_once(journal, ids)


def test_a_line_that_kills_the_server_behind_a_gateway_is_the_only_one_to_end_with_its_words(
    data: Path, tmp_path: Path
) -> None:
    """The gateway lives and its list stays. Who failed with others as often as a line may is tried alone."""
    ids, few = fresh_ids(100), {"BULKRATE_RETRY__BACKOFF_S_MIN": "0.2", "BULKRATE_RETRY__ATTEMPTS_MAX": "3"}
    lines = [line(custom_id) for custom_id in ids]
    lines[50] = line(ids[50], "[[sandbox:sleep_ms=10,crash]]")
    with (
        running(sandbox("--latency-ms", "20", "--restart-s", "0.1")) as upstream,
        gateway(upstream.port, keeps_list=True) as between,
        running(Server(data, env=narrow(between.url, WINDOW, **few))) as server,
    ):
        batch = wait_until_ended(server.client, submit(server.client, jsonl(*lines)).id)
        check_books(server.client, batch.id, ids)
        told = {
            answer["custom_id"]: answer["response"]["status_code"]
            for answer in lines_of(server.client, batch.error_file_id)
        }
    assert told == {ids[50]: 502}


def test_what_a_gateway_says_for_longer_than_an_outage_may_last_is_told_and_can_be_retried(
    data: Path, tmp_path: Path
) -> None:
    """Its list of models stays, so nothing tells a server that is gone from lines that it cannot answer."""
    port, ids = free_port(), fresh_ids(40)
    patience = {"BULKRATE_RETRY__OUTAGE_S": "1", "BULKRATE_RETRY__BACKOFF_S_MAX": "0.2"}
    with (
        gateway(port, keeps_list=True) as between,
        running(sandbox_at(port, tmp_path / "journal")) as upstream,
        running(Server(data, env=narrow(between.url, WINDOW, **patience))) as server,
    ):
        check_all_answered(server, submit(server.client, input_of(ids)).id, ids)
        upstream.kill()
        batch = wait_until_ended(server.client, submit(server.client, input_of(ids)).id)
        check_books(server.client, batch.id, ids)
        told = lines_of(server.client, batch.error_file_id)
        assert {answer["response"]["status_code"] for answer in told} == {502}
        with running(sandbox_at(port, tmp_path / "journal")):
            again = server.client.post(f"/batches/{batch.id}/retry", cast_to=object)
            check_all_answered(server, dict(again)["id"], ids)


def test_an_upstream_whose_name_has_no_address_yet_is_waited_for(data: Path, tmp_path: Path) -> None:
    port, journal, ids, names = free_port(), Journal(tmp_path / "journal"), fresh_ids(100), Names(tmp_path)
    names.take(HOST)
    env = narrow(f"http://{HOST}:{port}/v1", WINDOW, **ONE_ATTEMPT, **names.env)
    with running(sandbox_at(port, journal.path)), running(Server(data, env=env)) as server:
        batch = submit(server.client, input_of(ids))
        wait_until(partial(paused, server, batch.id), lambda why: why and "no address" in why)
        assert "no address" in server.get("/health")["reasons"][0]
        names.give(HOST, "127.0.0.1")
        check_all_answered(server, batch.id, ids)
    assert set(journal.counts(ids).values()) == {1}


def test_an_upstream_whose_name_loses_its_address_in_mid_batch_fails_no_line(
    data: Path, tmp_path: Path
) -> None:
    """It comes back at once, but nobody finds it until its name does."""
    port, journal, ids, names = free_port(), Journal(tmp_path / "journal"), fresh_ids(400), Names(tmp_path)
    names.give(HOST, "127.0.0.1")
    env = narrow(f"http://{HOST}:{port}/v1", WINDOW, **ONE_ATTEMPT, **names.env)
    with running(Server(data, env=env)) as server:
        with running(sandbox_at(port, journal.path)) as upstream:
            batch = submit(server.client, input_of(ids))
            journal.wait_for_calls(ids, 100)
            names.take(HOST)
            upstream.kill()
        with running(sandbox_at(port, journal.path)):
            wait_until(lambda: paused(server, batch.id) or "", lambda why: "no address" in why)
            sent = journal.total(ids)
            assert sent < len(ids)
            names.give(HOST, "127.0.0.1")
            check_all_answered(server, batch.id, ids)
    check_sent_once(journal, ids)

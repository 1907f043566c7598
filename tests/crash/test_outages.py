"""Upstreams that go away, refuse our key, or share their work: no line pays for what is not its fault."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.crash.accounting import Journal, check_all_answered, check_books, fresh_ids, input_of, line
from tests.crash.servers import ONE_ATTEMPT, narrow, paused, sandbox_at
from tests.support.processes import (
    Process,
    Server,
    free_port,
    jsonl,
    running,
    sandbox,
    submit,
    wait_until,
    wait_until_ended,
)

pytestmark = pytest.mark.server


def url_at(port: int) -> str:
    return f"http://127.0.0.1:{port}/v1"


def configured(folder: Path, **upstreams: dict[str, Any]) -> tuple[str, ...]:
    """The flags of a server with these upstreams."""
    lines = []
    for name, settings in upstreams.items():
        lines.append(f"[upstreams.{name}]")
        for key, value in settings.items():
            if isinstance(value, dict):
                pairs = ", ".join(f'"{left}" = "{right}"' for left, right in value.items())
                lines.append(f"{key} = {{ {pairs} }}")
            else:
                lines.append(f"{key} = {value!r}")
    file = folder / "bulkrate.toml"
    file.write_text("\n".join(lines))
    return ("--config", str(file))


def test_a_batch_waits_for_an_upstream_that_is_down_at_the_start(data: Path, tmp_path: Path) -> None:
    port, journal, ids = free_port(), Journal(tmp_path / "journal"), fresh_ids(100)
    with running(Server(data, url_at(port), env=ONE_ATTEMPT)) as server:
        batch = submit(server.client, input_of(ids))
        wait_until(lambda: paused(server, batch.id), lambda why: why and "no connection" in why)
        health = server.get("/health")
        assert health["status"] == "degraded"
        assert [up["status"] for up in health["upstreams"].values()] == ["out"]
        with running(sandbox_at(port, journal.path)):
            check_all_answered(server, batch.id, ids)
            wait_until(lambda: server.get("/health")["status"], lambda status: status == "ok")
    assert set(journal.counts(ids).values()) == {1}


def test_an_upstream_killed_in_mid_batch_and_started_again_fails_no_line(data: Path, tmp_path: Path) -> None:
    port, journal, ids = free_port(), Journal(tmp_path / "journal"), fresh_ids(2_000)
    with running(Server(data, url_at(port))) as server:
        batch_id = ""
        for calls in (300, 900):
            with running(sandbox_at(port, journal.path)) as upstream:
                batch_id = batch_id or submit(server.client, input_of(ids)).id
                journal.wait_for_calls(ids, calls)
                upstream.kill()
            assert wait_until(partial(paused, server, batch_id), bool)
        with running(sandbox_at(port, journal.path)):
            check_all_answered(server, batch_id, ids)
    # What was in flight when the upstream died is all that it was asked for twice.
    assert journal.total(ids) - len(ids) <= 2 * 256
    # After the last suspect had come back, nothing was sent until the next look at the models, 30 s later.
    assert journal.longest_pause_s(ids) < 15


def test_a_refused_key_pauses_the_upstream_until_it_is_right(data: Path, tmp_path: Path) -> None:
    port, journal, ids = free_port(), Journal(tmp_path / "journal"), fresh_ids(100)
    key = {"BULKRATE_UPSTREAM_KEY": "env:KEY", "KEY": "wrong", **ONE_ATTEMPT}
    with running(Server(data, url_at(port), env=key)) as server:
        with running(sandbox_at(port, journal.path, "--key", "right")):
            batch = submit(server.client, input_of(ids))
            wait_until(lambda: "key" in (paused(server, batch.id) or ""), bool)
            assert "key" in server.get("/health")["reasons"][0]
        with running(sandbox_at(port, journal.path, "--key", "wrong")):
            check_all_answered(server, batch.id, ids)


def test_a_key_that_is_withdrawn_in_mid_batch_fails_no_line(data: Path, tmp_path: Path) -> None:
    port, journal, ids = free_port(), Journal(tmp_path / "journal"), fresh_ids(2_000)
    with running(Server(data, url_at(port))) as server:
        with running(sandbox_at(port, journal.path)) as upstream:
            batch = submit(server.client, input_of(ids))
            journal.wait_for_calls(ids, 300)
            upstream.kill()
        with running(sandbox_at(port, journal.path, "--key", "new")):
            wait_until(lambda: "key" in (paused(server, batch.id) or ""), bool)
        with running(sandbox_at(port, journal.path)):
            check_all_answered(server, batch.id, ids)


def test_a_model_that_no_upstream_serves_is_found_before_anything_is_sent(data: Path, tmp_path: Path) -> None:
    journal, ids = Journal(tmp_path / "journal"), fresh_ids(3)
    with (
        running(sandbox("--model", "small", "--journal", str(journal.path))) as upstream,
        running(Server(data, upstream.url)) as server,
    ):
        lines = (line(ids[0], model="small"), line(ids[1], model="large"), line(ids[2], model="small"))
        batch = wait_until_ended(server.client, submit(server.client, jsonl(*lines)).id)
    assert batch.status == "failed"
    assert [(fault.code, fault.line) for fault in batch.errors.data] == [("model_not_found", 2)]
    assert journal.total(ids) == 0


def test_two_upstreams_of_one_model_share_the_work_by_their_speed(data: Path, tmp_path: Path) -> None:
    fast, slow, ids = Journal(tmp_path / "fast"), Journal(tmp_path / "slow"), fresh_ids(1_000)
    with (
        running(sandbox("--latency-ms", "10", "--journal", str(fast.path))) as one,
        running(sandbox("--latency-ms", "100", "--journal", str(slow.path))) as other,
    ):
        flags = configured(
            tmp_path,
            one={"url": one.url, "max_in_flight": 8},
            other={"url": other.url, "max_in_flight": 8},
        )
        with running(Server(data, flags=flags)) as server:
            batch = wait_until_ended(server.client, submit(server.client, input_of(ids)).id)
            check_books(server.client, batch.id, ids)
    assert fast.total(ids) + slow.total(ids) == len(ids)
    assert fast.total(ids) > 2 * slow.total(ids) > 0


def test_one_of_two_upstreams_that_dies_leaves_its_work_to_the_other(data: Path, tmp_path: Path) -> None:
    first, second, ids = Journal(tmp_path / "first"), Journal(tmp_path / "second"), fresh_ids(2_000)
    with (
        running(sandbox_at(free_port(), first.path)) as one,
        running(sandbox_at(free_port(), second.path)) as other,
        running(Server(data, one.url, other.url)) as server,
    ):
        batch = submit(server.client, input_of(ids))
        first.wait_for_calls(ids, 200)
        one.kill()
        check_all_answered(server, batch.id, ids)


def test_an_alias_changes_the_model_and_nothing_else(data: Path, tmp_path: Path) -> None:
    ids = fresh_ids(1)
    seen = {}
    for name, model in (("aliased", "theirs"), ("plain", "mine")):
        journal = Journal(tmp_path / name)
        with running(sandbox("--model", "mine", "--journal", str(journal.path))) as upstream:
            flags = configured(tmp_path, it={"url": upstream.url, "aliases": {"theirs": "mine"}})
            with running(Server(data / name, flags=flags)) as server:
                asked = line(ids[0], "grüße", model=model, temperature=1.50, seed=7)
                content = json.dumps(asked, separators=(",", ":")).encode()
                assert (
                    wait_until_ended(server.client, submit(server.client, content).id).status == "completed"
                )
        seen[name] = journal.path.read_text().partition('"model"')[2]
    assert '"mine"' in seen["plain"]
    assert seen["aliased"] == seen["plain"], "an aliased body must be the plain one, byte for byte"


def test_a_slow_model_does_not_hold_up_another_in_the_same_batch(
    data: Path, upstream: Process, tmp_path: Path
) -> None:
    quick, ids = Journal(tmp_path / "quick"), fresh_ids(400)
    with running(sandbox("--model", "quick", "--journal", str(quick.path))) as fast:
        flags = configured(
            tmp_path,
            fast={"url": fast.url},
            stuck={"url": url_at(free_port()), "models": ["slow"]},
        )
        with running(Server(data, flags=flags)) as server:
            lines = [line(custom_id, model=("slow", "quick")[n % 2]) for n, custom_id in enumerate(ids)]
            batch = submit(server.client, jsonl(*lines))
            counts = wait_until(
                lambda: server.client.batches.retrieve(batch.id).request_counts,
                lambda counts: counts.completed == len(ids) // 2,
            )
            assert counts.failed == 0
            wait_until(lambda: paused(server, batch.id), lambda why: why and "stuck: no connection" in why)
            server.client.batches.cancel(batch.id)
            wait_until_ended(server.client, batch.id)
            check_books(server.client, batch.id, ids)


@pytest.mark.slow
def test_a_thousand_tiny_batches_at_once_all_complete(
    data: Path, upstream: Process, journal: Journal
) -> None:
    ids = fresh_ids(1)
    with running(Server(data, env=narrow(upstream.url, 256))) as server:
        client = server.client
        first = submit(client, input_of(ids))
        again = {"input_file_id": first.input_file_id, "endpoint": first.endpoint, "completion_window": "24h"}
        with ThreadPoolExecutor(16) as threads:
            created = threads.map(lambda _: client.batches.create(**again).id, range(999))
            batches = [first.id, *created]
        wait_until(lambda: server.get("/health")["batches"], lambda counts: counts == {"completed": 1_000})
        for batch_id in batches[::50]:
            check_books(client, batch_id, ids)
    assert journal.total(ids) == 1_000


def test_a_small_batch_beside_a_huge_one_is_done_at_once(
    data: Path, upstream: Process, journal: Journal
) -> None:
    huge, small = fresh_ids(30_000), fresh_ids(1)
    with running(Server(data, env=narrow(upstream.url, 16))) as server:
        long = submit(server.client, input_of(huge))
        journal.wait_for_calls(huge, 100)
        began = time.monotonic()
        batch = wait_until_ended(server.client, submit(server.client, input_of(small)).id)
        took_s = time.monotonic() - began
        check_books(server.client, batch.id, small)
        assert server.client.batches.retrieve(long.id).status == "in_progress"
        # The huge one needs at least 30,000 / 16 * 20 ms = 37 s.
        assert took_s < 10
        server.client.batches.cancel(long.id)
        wait_until_ended(server.client, long.id)
        check_books(server.client, long.id, huge)


def test_a_straggler_is_answered_by_an_idle_upstream_where_hedging_is_asked_for(
    data: Path, tmp_path: Path
) -> None:
    """The slow upstream would hold its last lines for an hour."""
    ids = fresh_ids(40)
    quick, slow = Journal(tmp_path / "quick"), Journal(tmp_path / "slow")
    width = ("max_in_flight", 4)
    with (
        running(sandbox("--journal", str(quick.path), "--latency-ms", "20")) as fast,
        running(sandbox("--journal", str(slow.path), "--latency-ms", "3600000")) as stuck,
    ):
        flags = configured(
            tmp_path, fast={"url": fast.url, **dict([width])}, stuck={"url": stuck.url, **dict([width])}
        )
        with running(Server(data, flags=flags, env={"BULKRATE_RETRY__HEDGE": "0.1"})) as server:
            batch = submit(server.client, input_of(ids))
            wait_until_ended(server.client, batch.id)
            check_books(server.client, batch.id, ids)
        twice = slow.counts(ids).keys()
        assert twice
        assert twice <= quick.counts(ids).keys()

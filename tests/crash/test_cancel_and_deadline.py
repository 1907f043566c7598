"""Stopped batches: what was finished is kept, every line that never ran is told of, whatever dies."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.crash.accounting import Journal, check_books, check_ended, fresh_ids, input_of, line
from tests.crash.servers import kill_child, narrow
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

LINES = 2_000
WINDOW = 16


def move_deadline(data: Path, batch_id: str, expires_at: float) -> None:
    """Let the window close: no client can, and no test can wait for an hour."""
    with sqlite3.connect(data / "bulkrate.db", timeout=30) as records:
        records.execute("UPDATE batches SET expires_at = ? WHERE id = ?", (int(expires_at), batch_id))


def codes(server: Server, batch: Any) -> Counter[str]:
    """What the error file says, and how often."""
    return Counter(answer["error"]["code"] for answer in lines_of(server.client, batch.error_file_id))


def test_a_batch_cancelled_in_the_middle_keeps_its_answers(
    data: Path, upstream: Process, journal: Journal
) -> None:
    ids = fresh_ids(LINES)
    with running(Server(data, env=narrow(upstream.url, WINDOW))) as server:
        batch = submit(server.client, input_of(ids))
        journal.wait_for_calls(ids, 300)
        assert server.client.batches.cancel(batch.id).status == "cancelling"
        batch = check_ended(server, batch.id, ids, "cancelled")
        called = journal.counts(ids)
        # Whatever was asked for landed: nothing was paid for in vain.
        assert set(called.values()) == {1}
        assert batch.request_counts.completed == len(called)
        assert codes(server, batch) == {"batch_cancelled": LINES - len(called)}


def test_a_batch_cancelled_before_its_lines_are_known_sends_none(
    data: Path, upstream: Process, journal: Journal
) -> None:
    ids = fresh_ids(50_000)
    with running(Server(data, env=narrow(upstream.url, WINDOW))) as server:
        batch = submit(server.client, input_of(ids))
        assert batch.status == "validating"
        assert server.client.batches.cancel(batch.id).status == "cancelling"
        batch = check_ended(server, batch.id, ids, "cancelled")
        assert codes(server, batch) == {"batch_cancelled": len(ids)}
    assert journal.total(ids) == 0


def test_a_batch_cancelled_while_lines_wait_to_be_tried_again_tells_of_them(
    data: Path, upstream: Process, journal: Journal
) -> None:
    """When the last line in flight landed in a lane that was closed, those waiting in it were forgotten."""
    late, *waiting = ids = fresh_ids(WINDOW // 2)
    lines = [line(custom_id, "[[sandbox:status=429,retry_after=60]]") for custom_id in waiting]
    content = jsonl(line(late, "[[sandbox:sleep_ms=3000]]"), *lines)
    with running(Server(data, env=narrow(upstream.url, WINDOW))) as server:
        batch = submit(server.client, content)
        journal.wait_for_calls(ids, len(ids))
        server.client.batches.cancel(batch.id)
        batch = check_ended(server, batch.id, ids, "cancelled")
        assert batch.request_counts.completed == 1
        assert codes(server, batch) == {"batch_cancelled": len(waiting)}


def test_a_batch_cancelled_when_its_last_answer_is_in_ends_with_all_of_them(
    data: Path, tmp_path: Path, upstream: Process
) -> None:
    ids = fresh_ids(100)
    # The clerk dies when it begins to close the batch, again and again.
    with running(Server(data, env=narrow(upstream.url, WINDOW, BULKRATE_DIE_AT="finish.moved"))) as server:
        batch = submit(server.client, input_of(ids))
        wait_until(
            lambda: server.client.batches.retrieve(batch.id).request_counts.completed,
            lambda completed: completed == len(ids),
        )
        assert server.client.batches.cancel(batch.id).status == "cancelling"
        server.kill()
    with running(Server(data, env=narrow(upstream.url, WINDOW))) as server:
        batch = wait_until_ended(server.client, batch.id)
        assert (batch.status, batch.request_counts.completed) == ("cancelled", len(ids))
        check_books(server.client, batch.id, ids)


@pytest.mark.parametrize("role", ["clerk", "sender-0", "server"])
def test_a_cancel_is_carried_out_whatever_dies_meanwhile(
    role: str, data: Path, upstream: Process, journal: Journal
) -> None:
    ids = fresh_ids(LINES)
    with running(Server(data, env=narrow(upstream.url, WINDOW))) as server:
        batch = submit(server.client, input_of(ids))
        journal.wait_for_calls(ids, 300)
        server.client.batches.cancel(batch.id)
        if role == "server":
            server.kill()
        else:
            kill_child(server, role)
            wait_until_ended(server.client, batch.id)
    with running(Server(data, env=narrow(upstream.url, WINDOW))) as server:
        check_ended(server, batch.id, ids, "cancelled")
    # A line that was in flight at the death may have been asked for in vain; none is asked for twice.
    assert set(journal.counts(ids).values()) == {1}


def test_a_batch_whose_window_closes_keeps_its_answers(
    data: Path, upstream: Process, journal: Journal
) -> None:
    ids = fresh_ids(LINES)
    with running(Server(data, env=narrow(upstream.url, WINDOW))) as server:
        batch = submit(server.client, input_of(ids))
        journal.wait_for_calls(ids, 300)
        move_deadline(data, batch.id, time.time())
        batch = check_ended(server, batch.id, ids, "expired")
        called = journal.counts(ids)
        assert set(called.values()) == {1}
        assert batch.request_counts.completed == len(called)
        assert codes(server, batch) == {"batch_expired": LINES - len(called)}


def test_a_window_that_closes_while_no_server_runs_is_noticed_at_the_start(
    data: Path, upstream: Process, journal: Journal
) -> None:
    ids = fresh_ids(LINES)
    with running(Server(data, env=narrow(upstream.url, WINDOW))) as server:
        batch = submit(server.client, input_of(ids))
        journal.wait_for_calls(ids, 300)
        server.kill()
    move_deadline(data, batch.id, time.time() - 60)
    stopped = journal.total(ids)
    with running(Server(data, env=narrow(upstream.url, WINDOW))) as server:
        batch = check_ended(server, batch.id, ids, "expired")
    assert journal.total(ids) == stopped, "a line was sent after the deadline"

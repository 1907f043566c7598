"""A process that was taken for dead and wakes up again: what it still holds does not count."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from tests.crash.accounting import Journal, check_ended, fresh_ids, input_of
from tests.crash.servers import narrow
from tests.support.processes import Process, Server, running, submit

pytestmark = pytest.mark.server

LINES = 2_000
WINDOW = 16
HASTY = {"BULKRATE_TIMING__LEASE_S": "2", "BULKRATE_TIMING__SWEEP_S": "0.2"}


@contextmanager
def asleep(pid: int, data: Path) -> Iterator[None]:
    """Stop a process at a moment when it does not hold the database, which nobody could take from it."""
    path = data / "bulkrate.db"
    for _ in range(100):
        os.kill(pid, signal.SIGSTOP)
        try:
            with closing(sqlite3.connect(path, timeout=0.5, isolation_level=None)) as database:
                database.execute("BEGIN IMMEDIATE")
                database.execute("ROLLBACK")
            break
        except sqlite3.OperationalError:
            os.kill(pid, signal.SIGCONT)
    else:
        pytest.fail("the database was held at every one of a hundred looks")
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_sender_that_slept_through_its_lease_is_fenced_and_replaced(
    data: Path, upstream: Process, journal: Journal
) -> None:
    ids = fresh_ids(LINES)
    with running(Server(data, env=narrow(upstream.url, WINDOW, **HASTY))) as server:
        batch_id = submit(server.client, input_of(ids)).id
        journal.wait_for_calls(ids, 500)
        with asleep(server.child("sender-0"), data):
            server.wait_for_log("worker_buried")
        server.wait_for_log("worker_fenced")
        server.wait_for_log("process_died role=sender-0 exit_code=75")
        check_ended(server, batch_id, ids)
    journal.check_repeats(ids, in_flight=WINDOW)


def test_a_server_killed_while_its_sender_sleeps_is_not_disturbed_by_it(
    data: Path, upstream: Process, journal: Journal
) -> None:
    ids = fresh_ids(LINES)
    with running(Server(data, env=narrow(upstream.url, WINDOW))) as server:
        batch_id = submit(server.client, input_of(ids)).id
        journal.wait_for_calls(ids, 500)
        with ExitStack() as stack:
            with asleep(server.child("sender-0"), data):
                server.popen.kill()
                server.popen.wait()
                successor = stack.enter_context(running(Server(data, env=narrow(upstream.url, WINDOW))))
                journal.wait_for_calls(ids, 1_000)
            check_ended(successor, batch_id, ids)
    journal.check_repeats(ids, in_flight=WINDOW)


def test_a_clerk_that_slept_through_its_lease_does_no_harm(
    data: Path, upstream: Process, journal: Journal
) -> None:
    ids = fresh_ids(LINES)
    with running(Server(data, env=narrow(upstream.url, WINDOW, **HASTY))) as server:
        batch_id = submit(server.client, input_of(ids)).id
        journal.wait_for_calls(ids, 500)
        with asleep(server.child("clerk"), data):
            journal.wait_for_calls(ids, LINES)
        check_ended(server, batch_id, ids)
    journal.check_repeats(ids, in_flight=WINDOW)

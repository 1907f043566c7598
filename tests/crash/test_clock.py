"""A wall clock that jumps: only the window of a batch goes by it, and no line is lost or sent for nothing."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.crash.accounting import Journal, check_all_answered, check_ended, fresh_ids, input_of
from tests.crash.servers import narrow
from tests.support.clock import HOUR_S, Clock
from tests.support.processes import Process, Server, lines_of, running, submit, wait_until

pytestmark = pytest.mark.server

LINES = 1_000
WINDOW = 16
JUMPS = (HOUR_S, -HOUR_S, 0)


def test_a_batch_outlives_a_clock_that_jumps_an_hour_on_and_back(
    data: Path, tmp_path: Path, upstream: Process, journal: Journal
) -> None:
    ids, clock = fresh_ids(LINES), Clock(tmp_path)
    with running(Server(data, env=narrow(upstream.url, WINDOW, **clock.env))) as server:
        batch = submit(server.client, input_of(ids))
        for number, seconds in enumerate(JUMPS, start=1):
            journal.wait_for_calls(ids, 200 * number)
            clock.move(seconds)
        check_all_answered(server, batch.id, ids)
    # A jump forward may take a lease for lapsed: then what was in flight is sent again, and no more.
    journal.check_repeats(ids, in_flight=WINDOW, deaths=len(JUMPS))


def test_a_worker_that_dies_after_the_clock_went_back_is_replaced_at_once(
    data: Path, tmp_path: Path, upstream: Process, journal: Journal
) -> None:
    """Its lease lasts an hour longer by the clock; the server sees it die all the same."""
    ids, clock = fresh_ids(LINES), Clock(tmp_path)
    with running(Server(data, env=narrow(upstream.url, WINDOW, **clock.env))) as server:
        batch = submit(server.client, input_of(ids))
        journal.wait_for_calls(ids, 300)
        clock.move(-HOUR_S)
        journal.wait_for_calls(ids, 500)
        for pid in server.senders().values():
            os.kill(pid, signal.SIGKILL)
        check_ended(server, batch.id, ids)
    journal.check_repeats(ids, in_flight=WINDOW)


def test_a_clock_set_past_the_end_of_a_window_closes_it(
    data: Path, tmp_path: Path, upstream: Process, journal: Journal
) -> None:
    ids, clock = fresh_ids(LINES), Clock(tmp_path)
    with running(Server(data, env=narrow(upstream.url, WINDOW, **clock.env))) as server:
        batch = submit(server.client, input_of(ids), completion_window="1h")
        journal.wait_for_calls(ids, 300)
        clock.move(2 * HOUR_S)
        batch = check_ended(server, batch.id, ids, "expired")
        assert batch.request_counts.completed >= 200
        codes = {answer["error"]["code"] for answer in lines_of(server.client, batch.error_file_id)}
        assert codes == {"batch_expired"}


def test_a_server_started_by_a_clock_that_is_an_hour_behind_goes_on(
    data: Path, tmp_path: Path, upstream: Process, journal: Journal
) -> None:
    ids, clock = fresh_ids(LINES), Clock(tmp_path)
    with running(Server(data, env=narrow(upstream.url, WINDOW, **clock.env))) as server:
        batch = submit(server.client, input_of(ids))
        journal.wait_for_calls(ids, 300)
        server.kill()
    clock.move(-HOUR_S)
    with running(Server(data, env=narrow(upstream.url, WINDOW, **clock.env))) as server:
        check_ended(server, batch.id, ids)
        assert wait_until(lambda: server.get("/health")["status"], lambda status: status == "ok")
    journal.check_repeats(ids, in_flight=WINDOW)

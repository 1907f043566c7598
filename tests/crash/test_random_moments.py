"""Killed at moments that nobody chose: every line has one answer, and a death costs what was in flight."""

from __future__ import annotations

import os
import random
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.crash.accounting import Journal, check_ended, committed, fresh_ids, input_of, resume_time
from tests.crash.servers import is_alive, kill_child, narrow
from tests.support.processes import Process, Server, running, submit, wait_until

pytestmark = pytest.mark.server

LINES = 3_000
WINDOW = 64
ROLES = ("clerk", "sender-0")


def moments(kills: int, seed: int) -> list[int]:
    """After how many calls to kill. The seed is printed with a failure."""
    print(f"seed {seed}")
    return sorted(random.Random(seed).sample(range(1, LINES - WINDOW), kills))


def living(pids: list[int]) -> list[int]:
    return [pid for pid in pids if is_alive(pid)]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_server_killed_again_and_again_loses_nothing_and_repeats_little(
    seed: int, data: Path, upstream: Process, journal: Journal, record_property: Any
) -> None:
    ids = fresh_ids(LINES)
    batch_id = ""
    resumed = []
    repeated = []
    counted: list[tuple[float, list[str]]] = []
    for calls in (*moments(4, seed), None):
        before = journal.total(ids) - len(journal.counts(ids))
        since = time.time()
        with running(Server(data, env=narrow(upstream.url, WINDOW))) as server:
            if not batch_id:
                batch_id = submit(server.client, input_of(ids)).id
            else:
                resumed.append(resume_time(server, batch_id, journal, since))
            if calls is None:
                check_ended(server, batch_id, ids)
            else:
                journal.wait_for_calls(ids, calls)
                counted.append(committed(server, batch_id))
                children = [server.child(role) for role in ROLES]
                server.popen.kill()
                wait_until(partial(living, children), lambda left: not left)
        repeated.append(journal.total(ids) - len(journal.counts(ids)) - before)
    for moment, lines in counted:
        journal.none_after(moment, lines)
    assert max(repeated) <= WINDOW + journal.busiest_second(ids)
    record_property("resumed_s", resumed)
    record_property("repeated", repeated)
    record_property("busiest_second", journal.busiest_second(ids))


@pytest.mark.parametrize("role", ROLES)
def test_one_process_killed_again_and_again_is_replaced(
    role: str, data: Path, upstream: Process, journal: Journal, record_property: Any
) -> None:
    ids = fresh_ids(LINES)
    kills = moments(3, seed=3)
    with running(Server(data, env=narrow(upstream.url, WINDOW))) as server:
        batch_id = submit(server.client, input_of(ids)).id
        for number, calls in enumerate(kills, start=1):
            journal.wait_for_calls(ids, calls)
            moment, lines = committed(server, batch_id)
            kill_child(server, role)
            wait_until(lambda n=number: sum(f"died role={role}" in line for line in server.log) >= n, bool)
            wait_until(lambda: is_alive(server.child(role)), bool)
            journal.none_after(moment, lines)
        check_ended(server, batch_id, ids)
    repeats = journal.total(ids) - LINES
    record_property("repeated", repeats)
    assert repeats <= (len(kills) * (WINDOW + journal.busiest_second(ids)) if role != "clerk" else 0)


@pytest.mark.slow
def test_a_graceful_stop_in_mid_batch_repeats_nothing(
    data: Path, upstream: Process, journal: Journal
) -> None:
    ids = fresh_ids(LINES)
    batch_id = ""
    for calls in (500, 1_500, 2_900, None):
        with running(Server(data, env=narrow(upstream.url, WINDOW))) as server:
            if not batch_id:
                batch_id = submit(server.client, input_of(ids)).id
            if calls is None:
                check_ended(server, batch_id, ids)
            else:
                journal.wait_for_calls(ids, calls)
                assert server.stop() == 0
                assert not any("process_died" in line for line in server.log)
    assert set(journal.counts(ids).values()) == {1}


def test_a_sender_that_is_told_to_end_lands_what_is_in_flight(
    data: Path, upstream: Process, journal: Journal
) -> None:
    ids = fresh_ids(LINES)
    with running(Server(data, env=narrow(upstream.url, WINDOW))) as server:
        batch_id = submit(server.client, input_of(ids)).id
        journal.wait_for_calls(ids, 800)
        os.kill(server.child("sender-0"), signal.SIGTERM)
        check_ended(server, batch_id, ids)
    assert set(journal.counts(ids).values()) == {1}

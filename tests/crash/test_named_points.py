"""Dying at each named point, the whole server or one process: nothing is lost, nothing counts twice."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import openai
import pytest

from bulkrate.engine.points import POINTS
from tests.crash.accounting import (
    Journal,
    check_books,
    check_ended,
    committed,
    fresh_ids,
    input_of,
    resume_time,
)
from tests.crash.servers import deaths, narrow
from tests.support.processes import Process, Server, running, submit, wait_until, wait_until_ended

pytestmark = pytest.mark.server

WINDOW = 16
# At which pass of a point to die; in the middle of the batch where it is passed often.
PASS = {"commit.gathered": 3, "commit.written": 3, "commit.counted": 3}
UPLOADING = ("upload.received", "upload.kept")
# More lines than one commit of the last account tells of.
MANY = 6_000
CANCELLING = ("finish.moved", "finish.telling", "finish.told", "finish.closed")
# Those of delegated upstreams and of jobs have files of their own.
HERE = [point for point in POINTS if not point.startswith(("delegate.", "job."))]
RUNNING = tuple(point for point in HERE if point not in {*UPLOADING, "finish.telling"})


def begin(server: Server, ids: list[str], *, cancel_after: int | None, journal: Journal) -> Any:
    batch = submit(server.client, input_of(ids))
    if cancel_after is not None:
        journal.wait_for_calls(ids, cancel_after)
        server.client.batches.cancel(batch.id)
    return batch


CASES = [(point, 300, None, "completed") for point in RUNNING] + [
    (point, MANY, 20, "cancelled") for point in CANCELLING
]


@pytest.mark.parametrize(("point", "size", "cancel_after", "end"), CASES)
def test_a_server_killed_at_any_point_resumes_and_loses_nothing(
    point: str,
    size: int,
    cancel_after: int | None,
    end: str,
    data: Path,
    upstream: Process,
    journal: Journal,
    record_property: Any,
) -> None:
    ids = fresh_ids(size)
    with running(
        Server(data, env=narrow(upstream.url, WINDOW, BULKRATE_DIE_AT=f"{point}:{PASS.get(point, 1)}"))
    ) as server:
        batch = begin(server, ids, cancel_after=cancel_after, journal=journal)
        server.wait_for_log("process_died")
        moment, counted = committed(server, batch.id)
        server.kill()
        died = deaths(server) + 1
    since = time.time()
    with running(Server(data, env=narrow(upstream.url, WINDOW))) as server:
        record_property("resumed_s", resume_time(server, batch.id, journal, since))
        batch = check_ended(server, batch.id, ids, end)
    journal.none_after(moment, counted)
    journal.check_repeats(ids, in_flight=WINDOW, deaths=died)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("points", "size", "cancel_after", "end"),
    [(RUNNING, 300, None, "completed"), (CANCELLING, MANY, 20, "cancelled")],
    ids=["running", "cancelling"],
)
def test_a_batch_outlives_a_death_at_every_point_one_after_the_other(
    points: tuple[str, ...],
    size: int,
    cancel_after: int | None,
    end: str,
    data: Path,
    tmp_path: Path,
    upstream: Process,
    journal: Journal,
) -> None:
    ids = fresh_ids(size)
    die_at = ",".join(f"{point}:1:{tmp_path / point}" for point in points)
    with running(Server(data, env=narrow(upstream.url, WINDOW, BULKRATE_DIE_AT=die_at))) as server:
        batch = begin(server, ids, cancel_after=cancel_after, journal=journal)
        batch = check_ended(server, batch.id, ids, end)
        assert [point for point in points if not (tmp_path / point).exists()] == []
        wait_until(lambda: deaths(server), lambda died: died == len(points))
    journal.check_repeats(ids, in_flight=WINDOW, deaths=len(points))


@pytest.mark.parametrize("point", UPLOADING)
def test_an_upload_that_was_not_confirmed_leaves_nothing(
    point: str, data: Path, upstream: Process, journal: Journal
) -> None:
    ids = fresh_ids(10)
    with running(Server(data, env=narrow(upstream.url, WINDOW, BULKRATE_DIE_AT=point))) as server:
        with pytest.raises(openai.APIConnectionError):
            submit(server.client, input_of(ids))
        server.kill()
    with running(Server(data, env=narrow(upstream.url, WINDOW))) as server:
        assert list(server.client.files.list()) == []
        wait_until(
            lambda: [path for path in (data / "blobs").rglob("*") if path.is_file()], lambda left: not left
        )
        batch = wait_until_ended(server.client, submit(server.client, input_of(ids)).id)
        check_books(server.client, batch.id, ids)
    assert set(journal.counts(ids).values()) == {1}


def test_every_named_point_is_died_at() -> None:
    assert set(HERE) == {*UPLOADING, *RUNNING, *CANCELLING}

"""A disk that is full or fails, and records that are locked: work stands still, says so, and goes on."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.crash.accounting import Journal, check_ended, fresh_ids, input_of
from tests.crash.servers import narrow, paused
from tests.support.processes import Process, Server, running, submit, wait_until

pytestmark = pytest.mark.server

WINDOW = 16
LINES = 1_000
# Answers of 1,000 lines at 20 kB each fill 20 MB.
BIG_ANSWER = "[[sandbox:bytes=20000]]"
DISK_BYTES = 48 << 20
LEFT_BYTES = 8 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, of 48 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a disk")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path, left: int) -> Path:
    """A file that leaves so many bytes free."""
    filler = disk / "filler"
    with filler.open("ab") as file, contextlib.suppress(OSError):
        for _ in range((shutil.disk_usage(disk).free - left) >> 12):
            file.write(bytes(1 << 12))
            file.flush()
    return filler


def begin_until_full(server: Server, disk: Path, ids: list[str]) -> tuple[str, Path]:
    """A batch whose answers do not fit, at the moment when it stands still."""
    batch_id = submit(server.client, input_of(ids, BIG_ANSWER)).id
    filler = fill(disk, LEFT_BYTES)
    server.wait_for_log("sender_paused")
    assert "No space left" in wait_until(lambda: paused(server, batch_id), bool)
    assert server.get("/health")["status"] == "degraded"
    assert server.client.batches.retrieve(batch_id).status == "in_progress"
    return batch_id, filler


def test_a_full_disk_pauses_a_batch_until_there_is_room(
    disk: Path, upstream: Process, journal: Journal
) -> None:
    ids = fresh_ids(LINES)
    with running(Server(disk / "data", env=narrow(upstream.url, WINDOW))) as server:
        batch_id, filler = begin_until_full(server, disk, ids)
        assert journal.total(ids) < LINES, "it went on although nothing could be kept"
        with pytest.raises(openai.InternalServerError) as refused:
            server.client.files.create(file=("more.jsonl", input_of(fresh_ids(100_000))), purpose="batch")
        assert refused.value.status_code == 503
        fill(disk, 0)
        with pytest.raises(openai.InternalServerError, match="disk is full"):
            server.client.batches.cancel(batch_id)  # that is a record too
        filler.unlink()
        check_ended(server, batch_id, ids)
        wait_until(
            lambda: server.get("/health")["reasons"], lambda reasons: not any("sender" in r for r in reasons)
        )
    assert set(journal.counts(ids).values()) == {1}, "answers that waited for room were given up"


def test_a_server_killed_on_a_full_disk_goes_on_once_there_is_room(
    disk: Path, upstream: Process, journal: Journal
) -> None:
    ids = fresh_ids(LINES)
    with running(Server(disk / "data", env=narrow(upstream.url, WINDOW))) as server:
        batch_id, filler = begin_until_full(server, disk, ids)
        server.kill()
    filler.unlink()
    with running(Server(disk / "data", env=narrow(upstream.url, WINDOW))) as server:
        check_ended(server, batch_id, ids)
    journal.check_repeats(ids, in_flight=WINDOW)


@pytest.mark.slow
def test_records_that_are_locked_for_long_stop_the_work_and_lose_nothing(
    data: Path, upstream: Process, journal: Journal
) -> None:
    ids = fresh_ids(3_000)
    with running(Server(data, env=narrow(upstream.url, WINDOW))) as server:
        batch_id = submit(server.client, input_of(ids)).id
        journal.wait_for_calls(ids, 500)
        with contextlib.closing(sqlite3.connect(data / "bulkrate.db", timeout=30)) as records:
            records.execute("BEGIN IMMEDIATE")
            server.wait_for_log("sender_paused")
            held = journal.total(ids)
            assert held < len(ids)
            assert server.client.batches.retrieve(batch_id).status == "in_progress"
            records.rollback()
        check_ended(server, batch_id, ids)
    assert set(journal.counts(ids).values()) == {1}


def test_a_disk_that_fails_to_sync_pauses_the_work_and_loses_nothing(
    data: Path, upstream: Process, journal: Journal
) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace makes the disk fail, and it is not installed")
    ids = fresh_ids(2_000)
    with running(Server(data, env=narrow(upstream.url, WINDOW))) as server:
        wait_until(lambda: server.get("/health")["upstreams"], lambda ups: ups["it"]["status"] == "ok")
        fault = ["-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO:when=10+"]
        strace = subprocess.Popen(
            ["strace", "-f", "-q", "-p", str(server.child("sender-0")), *fault],
            stderr=subprocess.DEVNULL,
        )
        try:
            batch_id = submit(server.client, input_of(ids)).id
            server.wait_for_log("sender_paused")
            held = journal.total(ids)
            assert held < len(ids)
        finally:
            strace.terminate()
            strace.wait()
        check_ended(server, batch_id, ids)
        assert not any("process_died" in said for said in server.log)
    assert set(journal.counts(ids).values()) == {1}

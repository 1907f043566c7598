"""A machine that runs short: of open files, of memory, of a folder that can be written to."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest

from tests.crash.accounting import Journal, check_all_answered, check_books, fresh_ids, input_of, line
from tests.crash.servers import ONE_ATTEMPT, deaths, narrow, paused
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

WINDOW = 256
LINES = 1_000


def give(server: Server, what: int, much: int) -> None:
    """Let every sender have so much of a resource; its successor has as much as the server."""
    for pid in server.senders().values():
        resource.prlimit(pid, what, (much, resource.prlimit(pid, what)[1]))


def is_sending(server: Server) -> bool:
    return all(upstream["status"] == "ok" for upstream in server.get("/health")["upstreams"].values())


def test_a_sender_without_files_to_open_stands_still_and_goes_on_when_it_has_some(
    data: Path, upstream: Process, journal: Journal
) -> None:
    ids = fresh_ids(LINES)
    with running(Server(data, env=narrow(upstream.url, WINDOW, **ONE_ATTEMPT))) as server:
        wait_until(lambda: is_sending(server), bool)
        pids = server.senders().values()
        used = max(sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()) for pid in pids)
        give(server, resource.RLIMIT_NOFILE, used + 24)
        batch = submit(server.client, input_of(ids))
        server.wait_for_log("sender_paused")
        # SQLite has words of its own for it.
        reason = wait_until(lambda: paused(server, batch.id), bool)
        assert "Too many open files" in reason or "unable to open database file" in reason
        give(server, resource.RLIMIT_NOFILE, 4_096)
        check_all_answered(server, batch.id, ids)
        assert list(server.senders().values()) == list(pids), "it went on by dying"
    assert set(journal.counts(ids).values()) == {1}


def test_an_answer_that_does_not_fit_into_memory_harms_its_own_line_alone(
    data: Path, upstream: Process, journal: Journal
) -> None:
    huge, *others = ids = fresh_ids(200)
    lines = [line(huge, "[[sandbox:bytes=100000000]]"), *(line(custom_id) for custom_id in others)]
    quick = {"BULKRATE_RETRY__ATTEMPTS_MAX": "2", "BULKRATE_RETRY__BACKOFF_S_MIN": "0.01"}
    with running(Server(data, env=narrow(upstream.url, WINDOW, **quick))) as server:
        wait_until(lambda: is_sending(server), bool)
        used = max(_address_space(pid) for pid in server.senders().values())
        give(server, resource.RLIMIT_AS, used + (64 << 20))
        batch = wait_until_ended(server.client, submit(server.client, jsonl(*lines)).id)
        check_books(server.client, batch.id, ids)
        assert batch.status == "completed"
        errors = lines_of(server.client, batch.error_file_id)
        print(errors, deaths(server))
        # Either it is given up, or its sender dies of it and the next one has more room.
        assert [failed["custom_id"] for failed in errors] in ([], [huge])


def _address_space(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()


def test_an_answer_of_a_hundred_megabytes_comes_back_whole(
    data: Path, upstream: Process, journal: Journal
) -> None:
    huge, *others = ids = fresh_ids(50)
    lines = [line(huge, "[[sandbox:bytes=100000000]]"), *(line(custom_id) for custom_id in others)]
    with running(Server(data, env=narrow(upstream.url, WINDOW))) as server:
        check_all_answered(server, submit(server.client, jsonl(*lines)).id, ids)
    assert set(journal.counts(ids).values()) == {1}


# --- read only ---


@contextmanager
def mounted(folder: Path) -> Iterator[None]:
    """A folder that can be made read-only, even for root."""
    folder.mkdir(parents=True)
    if subprocess.run(["mount", "--bind", folder, folder], check=False, capture_output=True).returncode:
        pytest.skip("this user may not mount a folder")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def remounted(folder: Path, how: str) -> bool:
    """Make a folder `ro` or `rw`; False if it is being written to at this moment."""
    asked = ["mount", "-o", f"remount,bind,{how}", folder]
    return subprocess.run(asked, check=False, capture_output=True).returncode == 0


def test_a_server_on_a_folder_that_cannot_be_written_to_says_so_and_does_not_start(data: Path) -> None:
    with mounted(data):
        assert remounted(data, "ro")
        started = subprocess.run(
            [sys.executable, "-m", "bulkrate", "serve", "--port", "0", "--data", str(data)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert started.returncode == 3
    assert f"the data folder {data} cannot be written to; name another with --data" in started.stderr


def test_a_folder_that_becomes_read_only_pauses_the_work_until_it_is_writable_again(
    data: Path, upstream: Process, journal: Journal
) -> None:
    ids = fresh_ids(LINES)
    blobs = data / "blobs"
    with mounted(blobs), running(Server(data, env=narrow(upstream.url, 16, **ONE_ATTEMPT))) as server:
        batch = submit(server.client, input_of(ids))
        journal.wait_for_calls(ids, 300)
        wait_until(lambda: remounted(blobs, "ro"), bool)
        server.wait_for_log("sender_paused")
        assert "Read-only file system" in wait_until(lambda: paused(server, batch.id), bool)
        assert server.get("/health")["status"] == "degraded"
        with pytest.raises(openai.InternalServerError) as refused:
            server.client.files.create(file=("more.jsonl", input_of(fresh_ids(1))), purpose="batch")
        assert refused.value.status_code == 503
        assert remounted(blobs, "rw")
        check_all_answered(server, batch.id, ids)
    assert set(journal.counts(ids).values()) == {1}

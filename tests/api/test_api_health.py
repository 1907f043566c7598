"""/health tells of a process that does not do its work, though HTTP is answered."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from tests.support.http import Http
from tests.support.processes import Process, Server, chat_line, jsonl, running, submit, wait_until

pytestmark = pytest.mark.server


def test_a_process_that_dies_again_and_again_is_told_until_one_lives(data: Path, upstream: Process) -> None:
    env = {"BULKRATE_UPSTREAMS__GPU__URL": upstream.url}
    with running(Server(data, env={**env, "BULKRATE_DIE_AT": "admit.planned"})) as server:
        batch = submit(server.client, jsonl(chat_line("a")))
        http = Http(server.port)
        told = wait_until(lambda: http.get("/health").json, lambda seen: seen["status"] == "degraded")
        assert told["reasons"] == ["clerk: it ended (exit code -9) and is started again; the log says why"]
    with running(Server(data, env=env)) as server:
        http = Http(server.port)
        ended = wait_until(
            lambda: http.get(f"/v1/batches/{batch.id}").json, lambda seen: seen["status"] == "completed"
        )
        assert ended["request_counts"]["completed"] == 1
        assert http.get("/health").json["reasons"] == []


def test_every_process_may_have_as_many_connections_as_the_system_allows(
    data: Path, upstream: Process
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = min(
        1_024 + len(list(Path("/proc/self/fd").iterdir())), hard
    )  # beside what this process holds itself
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))
    try:
        with running(Server(data, env={"BULKRATE_UPSTREAMS__GPU__URL": upstream.url})) as server:
            children = Path(f"/proc/{server.popen.pid}/task/{server.popen.pid}/children").read_text().split()
            for pid in (server.popen.pid, *map(int, children)):
                assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

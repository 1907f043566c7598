"""The API as raw HTTP, on servers that all tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.http import Http
from tests.support.processes import Process, Server, running, sandbox

#: The models of the strict server; anything else is unknown there.
MODELS = ("gpt-4o-mini", "gpt-4o", "text-embedding-3-small")
LINE_BYTES_MAX = 4_000
LINES_MAX = 50


@pytest.fixture(scope="session")
def http(server: Server) -> Http:
    """Requests to the shared server."""
    return Http(server.port)


@pytest.fixture(scope="session")
def strict_upstream() -> Iterator[Process]:
    """A sandbox that serves a few models only."""
    with running(sandbox(*(part for model in MODELS for part in ("--model", model)))) as process:
        yield process


@pytest.fixture(scope="session")
def strict(strict_upstream: Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Http]:
    """A server with small limits that gives lines up quickly."""
    limits = {
        "LIMITS__LINE_BYTES_MAX": LINE_BYTES_MAX,
        "LIMITS__LINES_MAX": LINES_MAX,
        "LIMITS__EMBEDDING_INPUTS_MAX": 100,
        "LIMITS__RUN_REQUESTS_MAX": 10,
        "LIMITS__RUN_WAIT_S_MAX": 2.5,
        "RETRY__ATTEMPTS_MAX": 2,
        "RETRY__BACKOFF_S_MIN": 0.01,
        "RETRY__BACKOFF_S_MAX": 0.02,
        "UPSTREAMS__SANDBOX__URL": strict_upstream.url,
        "UPSTREAMS__SANDBOX__TIMEOUT_S": 2.0,
    }
    env = {f"BULKRATE_{name}": str(value) for name, value in limits.items()}
    with running(Server(tmp_path_factory.mktemp("strict"), env=env)) as process:
        yield Http(process.port)

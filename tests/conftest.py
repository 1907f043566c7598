"""Shared fixtures: one sandbox and one server for all tests that do not harm them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from openai import OpenAI

from tests.support.processes import Process, Server, running, sandbox

# A busy machine is slow, not wrong; what never ends runs into pytest's time-out.
_AT_ANY_SPEED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("bulkrate", max_examples=50, **_AT_ANY_SPEED)
# For a change to what decides: pytest --hypothesis-profile thorough tests/core
settings.register_profile("thorough", max_examples=2_000, **_AT_ANY_SPEED)
settings.load_profile("bulkrate")


@pytest.fixture(scope="session")
def upstream() -> Iterator[Process]:
    """A sandbox that answers at once."""
    with running(sandbox()) as process:
        yield process


@pytest.fixture(scope="session")
def server(upstream: Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server in front of the sandbox. Tests share it: each looks only at what it made itself."""
    with running(Server(tmp_path_factory.mktemp("data"), upstream.url)) as process:
        yield process


@pytest.fixture
def client(server: Server) -> OpenAI:
    """The official SDK, pointed at the server, without retries."""
    return server.client


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder for a server of the test's own."""
    return tmp_path / "data"

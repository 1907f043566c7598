"""The API as raw HTTP, on the server that all tests share."""

from __future__ import annotations

import pytest

from tests.support.http import Http
from tests.support.processes import Server


@pytest.fixture(scope="session")
def http(server: Server) -> Http:
    """Requests to the shared server."""
    return Http(server.port)

"""The server against its own OpenAPI document: whatever Schemathesis thinks of, there is no 5xx.

Reproduce a failure with the command that it prints; the seed is fixed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import Process, Server, running

pytestmark = [pytest.mark.server, pytest.mark.slow]

# No 5xx; every status, header and body as the document says.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)


def test_no_request_that_the_document_allows_or_forbids_breaks_the_server(
    upstream: Process, data: Path, tmp_path: Path
) -> None:
    with running(Server(data, upstream.url)) as server:
        # Reaching out to made-up receivers is a test of the network, and slow.
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run", f"{server.root}/openapi.json"),
                *("--checks", ",".join(CHECKS)),
                *("--phases", "examples,coverage,fuzzing"),
                *("--max-examples", "6", "--max-time", "20", "--workers", "1", "--seed", "20261120"),
                *("--generation-database", "none", "--no-shrink", "--no-color", "--request-timeout", "20"),
                *("--exclude-path", "/v1/webhook_endpoints/{webhook_endpoint_id}/test"),
                *("--warnings", "off"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
        assert server.get("/health")["reasons"] == []

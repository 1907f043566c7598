"""Servers to harm: how they are set, what they say of themselves, and how their processes die."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from tests.support.processes import Process, Server

#: Whatever an outage, or our own trouble, costs a line shows at once.
ONE_ATTEMPT = {"BULKRATE_RETRY__ATTEMPTS_MAX": "1"}


def narrow(url: str, max_in_flight: int, **variables: str) -> dict[str, str]:
    """The environment of a server with this upstream that has so many lines in flight at most."""
    name = "BULKRATE_UPSTREAMS__IT__"
    return {f"{name}URL": url, f"{name}MAX_IN_FLIGHT": str(max_in_flight), **variables}


def sandbox_at(port: int, journal: Path, *flags: str) -> Process:
    """An upstream at a port that it can come back to."""
    return Process("sandbox", "--port", str(port), "--journal", str(journal), "--latency-ms", "20", *flags)


def paused(server: Server, batch_id: str) -> Any:
    """Why the batch object says that nothing moves."""
    return server.get(f"/v1/batches/{batch_id}")["progress"]["paused"]


def deaths(server: Server) -> int:
    """How often a clerk or sender has died by itself."""
    return sum("process_died" in line for line in server.log)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that died and was not yet collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except FileNotFoundError:
        return False


def kill_child(server: Server, role: str) -> None:
    """SIGKILL for the clerk or the sender alone."""
    os.kill(server.child(role), signal.SIGKILL)

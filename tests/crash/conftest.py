"""One upstream for the whole folder that keeps a journal; every test makes a server of its own to harm."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.crash.accounting import Journal
from tests.support.processes import Process, running, sandbox
from tests.support.relay import Authority

#: What an answer takes: long enough that lines are in flight whenever something dies.
LATENCY_MS = 20


@pytest.fixture(scope="session")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Journal:
    """What the upstream was asked."""
    return Journal(tmp_path_factory.mktemp("upstream") / "journal.jsonl")


@pytest.fixture(scope="session")
def upstream(journal: Journal) -> Iterator[Process]:
    """A sandbox that answers after 20 ms."""
    with running(sandbox("--latency-ms", str(LATENCY_MS), "--journal", str(journal.path))) as process:
        yield process


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whose certificates nobody trusts unless told to."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificates")
    return Authority(tmp_path_factory.mktemp("authority"))

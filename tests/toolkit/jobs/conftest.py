"""Jobs on real servers: a sandbox with a journal, a bulkrate server before it, a plain one before that."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bulkrate.toolkit.jobs.desk import Desk, Listener
from bulkrate.toolkit.jobs.record import JobFolder, JobRecord
from bulkrate.toolkit.jobs.spec import JobSpec, ModelAsk
from bulkrate.toolkit.places.place import PlaceAsk
from bulkrate.toolkit.questions.asking import Asking
from bulkrate.toolkit.sources import open_source
from tests.support.processes import Process, Server, running, sandbox
from tests.toolkit.jobs.plain import PlainServer


class Books:
    """How often the sandbox was asked for what. Each test asks in a name of its own, each row with a text of
    its own; so a request is known by its body.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def calls(self, user: str) -> Counter[str]:
        """Calls in this name, by the digest of their bodies."""
        entries = map(json.loads, self.path.read_bytes().splitlines() if self.path.exists() else ())
        return Counter(entry["body_sha256"] for entry in entries if entry.get("user") == user)

    def each_once(self, user: str, rows: int) -> None:
        """Assert that so many different rows were asked for, and none of them twice."""
        calls = self.calls(user)
        assert (len(calls), calls.total()) == (rows, rows)


class Quick(Listener):
    """Does not wait between looks, but for as long as a look at our own takes."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def progress(self, progress: Any) -> None:
        self.seen.append(progress)

    def pause(self, seconds: float) -> None:
        super().pause(min(seconds, 0.05))


@pytest.fixture(scope="session")
def books(tmp_path_factory: pytest.TempPathFactory) -> Books:
    """What the sandbox below was asked."""
    return Books(tmp_path_factory.mktemp("books") / "journal.jsonl")


@pytest.fixture(scope="session")
def upstream(books: Books) -> Iterator[Process]:
    """A sandbox that notes every call."""
    with running(sandbox("--journal", str(books.path))) as process:
        yield process


@pytest.fixture(scope="session")
def server(upstream: Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A bulkrate server in front of it."""
    with running(Server(tmp_path_factory.mktemp("data"), upstream.url)) as process:
        yield process


@pytest.fixture
def plain(server: Server) -> Iterator[PlainServer]:
    """The same as OpenAI's would be; with manners of its own for each test."""
    with PlainServer(server.port).listening() as plain:
        yield plain


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A state folder of the test's own."""
    return Desk(tmp_path / "state", {})


def asked(server: str, user: str = "anyone", **more: Any) -> JobSpec:
    """A job that asks about each row's `text`, at `server`."""
    parts: dict[str, Any] = {
        "asking": Asking(recipe="map", prompt="What of {{ text }}?", params={"user": user}),
        "place": PlaceAsk(server=server),
        "model": ModelAsk(model="m"),
    }
    return JobSpec(**{**parts, **more})


def run(desk: Desk, spec: JobSpec, rows: Iterable[Any], **more: Any) -> tuple[JobFolder, JobRecord]:
    """A job over these rows, to its end."""
    source = open_source(list(rows))
    folder, _ = desk.begin(spec, source)
    return folder, desk.go_on(folder, Quick(), source=source, **more)


def rows_of(desk: Desk, folder: JobFolder) -> list[dict[str, Any]]:
    """The result."""
    return list(desk.runner(folder).result())


def adds_up(record: JobRecord) -> bool:
    """Whether every row is told of once."""
    return sum(record.counts.values()) == record.rows

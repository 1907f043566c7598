"""A line that kills its upstream is found, and costs nobody else an answer."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from tests.crash.accounting import Journal, check_books, fresh_ids, line
from tests.crash.servers import narrow
from tests.support.processes import (
    Process,
    Server,
    jsonl,
    lines_of,
    running,
    sandbox,
    submit,
    wait_until_ended,
)

pytestmark = pytest.mark.server

IN_FLIGHT = 64
# A single attempt: whatever a death costs a line shows at once.
SETTINGS = {"BULKRATE_RETRY__ATTEMPTS_MAX": "1", "BULKRATE_TIMING__GRACE_S": "1"}


def fragile(journal: Path) -> Process:
    """An upstream that dies of `[[sandbox:crash]]` and is started again."""
    return sandbox("--latency-ms", "30", "--restart-s", "0.2", "--journal", str(journal))


def serving(data: Path, upstream: Process) -> Server:
    return Server(data, env=narrow(upstream.url, IN_FLIGHT, **SETTINGS))


def with_poison(ids: list[str], *places: int) -> bytes:
    return jsonl(
        *(
            line(ident, "[[sandbox:sleep_ms=20,crash]]" if place in places else "hello")
            for place, ident in enumerate(ids)
        )
    )


def codes(client: Any, batch_id: str) -> dict[str, str]:
    batch = client.batches.retrieve(batch_id)
    return {told["custom_id"]: told["error"]["code"] for told in lines_of(client, batch.error_file_id)}


def test_the_line_that_kills_its_upstream_is_told_and_everybody_else_is_answered(
    data: Path, tmp_path: Path
) -> None:
    ids = fresh_ids(400)
    journal = Journal(tmp_path / "journal")
    with running(fragile(journal.path)) as upstream, running(serving(data, upstream)) as server:
        batch = submit(server.client, with_poison(ids, 200))
        done = wait_until_ended(server.client, batch.id)
        check_books(server.client, batch.id, ids)
        assert codes(server.client, batch.id) == {ids[200]: "upstream_crash"}
        assert done.request_counts.completed == 399
        assert journal.counts(ids)[ids[200]] <= math.log2(IN_FLIGHT) + 2


def test_two_lines_that_kill_are_both_found(data: Path, tmp_path: Path) -> None:
    ids = fresh_ids(300)
    journal = Journal(tmp_path / "journal")
    with running(fragile(journal.path)) as upstream, running(serving(data, upstream)) as server:
        batch = submit(server.client, with_poison(ids, 10, 250))
        wait_until_ended(server.client, batch.id)
        check_books(server.client, batch.id, ids)
        assert codes(server.client, batch.id) == {ids[10]: "upstream_crash", ids[250]: "upstream_crash"}


def test_a_batch_of_one_line_that_kills_ends(data: Path, tmp_path: Path) -> None:
    ids = fresh_ids(1)
    with running(fragile(tmp_path / "journal")) as upstream, running(serving(data, upstream)) as server:
        batch = submit(server.client, with_poison(ids, 0))
        wait_until_ended(server.client, batch.id)
        assert codes(server.client, batch.id) == {ids[0]: "upstream_crash"}


def test_an_upstream_that_is_killed_and_comes_back_convicts_nobody(data: Path, tmp_path: Path) -> None:
    ids = fresh_ids(400)
    journal = Journal(tmp_path / "journal")
    killer = fresh_ids(1)
    with running(fragile(journal.path)) as upstream, running(serving(data, upstream)) as server:
        client = server.client
        batch = submit(client, with_poison(ids))
        journal.wait_for_calls(ids, 100)
        # Somebody else's request kills the upstream that we share.
        other = server.client.with_options(base_url=upstream.url, max_retries=0)
        with pytest.raises(Exception, match=r"."):
            other.chat.completions.create(
                model="m", messages=[{"role": "user", "content": f"{killer} [[sandbox:crash]]"}]
            )
        done = wait_until_ended(client, batch.id)
        check_books(client, batch.id, ids)
        assert done.request_counts.completed == 400

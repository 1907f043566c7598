"""The books: what came back for every line, and how often the upstream was asked for it.

Each line's `custom_id` is also the `user` of its body, by which the sandbox's journal knows it.
"""

from __future__ import annotations

import bisect
import json
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Collection, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from openai import OpenAI

from tests.support.processes import (
    END_S_MAX,
    Server,
    chat_line,
    jsonl,
    lines_of,
    wait_until,
    wait_until_ended,
)

NEVER_RAN = {"batch_cancelled", "batch_expired"}
#: A restart resumes within 5 s; a busy test machine may take longer, and a test must not fail for that.
RESUME_S_MAX = 60.0


def fresh_ids(count: int) -> list[str]:
    """`custom_id`s that no other test has."""
    batch = uuid.uuid4().hex[:12]
    return [f"{batch}-{number}" for number in range(count)]


def line(custom_id: str, text: str = "hello", **body: Any) -> dict[str, Any]:
    """A chat line that the journal knows by its `custom_id`."""
    return chat_line(custom_id, f"{text} {custom_id}", user=custom_id, **body)


def input_of(ids: Sequence[str], text: str = "hello") -> bytes:
    """An input file with a line for each id."""
    return jsonl(*(line(custom_id, text) for custom_id in ids))


class Journal:
    """What the upstream was asked, and when."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_bytes = 0
        self._calls: list[tuple[float, str]] = []

    def calls(self) -> list[tuple[float, str]]:
        """Every call so far, in order: when it came, and for which line."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self._read_bytes)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._read_bytes += len(whole) + len(newline)
        for entry in map(json.loads, whole.splitlines()):
            self._calls.append((entry["t"], str(entry.get("user"))))
        return self._calls

    def counts(self, ids: Collection[str]) -> Counter[str]:
        """How often each of these lines was asked for."""
        wanted = set(ids)
        return Counter(name for _, name in self.calls() if name in wanted)

    def total(self, ids: Collection[str]) -> int:
        """How many calls there were for these lines."""
        return self.counts(ids).total()

    def wait_for_calls(self, ids: Collection[str], count: int) -> None:
        """Until there were so many calls for these lines."""
        wait_until(lambda: self.total(ids), lambda total: total >= count)

    def busiest_second(self, ids: Collection[str]) -> int:
        """The most calls that came within any second."""
        wanted = set(ids)
        times = sorted(when for when, name in self.calls() if name in wanted)
        best = first = 0
        for last, when in enumerate(times):
            while when - times[first] > 1:
                first += 1
            best = max(best, last - first + 1)
        return best

    def check_repeats(self, ids: Collection[str], *, in_flight: int, deaths: int = 1) -> None:
        """Assert that each death repeated what was in flight, and at most a second's worth of answers."""
        repeated = self.total(ids) - len(self.counts(ids))
        assert repeated <= deaths * (in_flight + self.busiest_second(ids))

    def longest_pause_s(self, ids: Collection[str]) -> float:
        """The longest time without a call for any of these lines, between the first and the last."""
        wanted = set(ids)
        times = sorted(when for when, name in self.calls() if name in wanted)
        return max((later - sooner for sooner, later in pairwise(times)), default=0.0)

    def none_after(self, moment: float, ids: Collection[str]) -> None:
        """Assert that none of these lines was asked for after a moment."""
        wanted = set(ids)
        again = [name for when, name in self.calls() if when > moment and name in wanted]
        assert not again, f"{len(again)} lines that counted were sent again: {again[:5]}"

    def first_after(self, moment: float) -> float | None:
        """Seconds from a moment to the next call."""
        calls = self.calls()
        place = bisect.bisect_right(calls, moment, key=lambda call: call[0])
        return calls[place][0] - moment if place < len(calls) else None


def committed(server: Server, batch_id: str) -> tuple[float, list[str]]:
    """The lines that count already, as anyone can read them, and the moment by which they did."""
    ids = [
        answer["custom_id"] for stream in ("output", "errors") for answer in _so_far(server, batch_id, stream)
    ]
    return time.time(), ids


def _so_far(server: Server, batch_id: str, stream: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{server.url}/batches/{batch_id}/{stream}", timeout=30) as answer:
        return [json.loads(line) for line in answer.read().splitlines()]


def check_books(client: OpenAI, batch_id: str, ids: Sequence[str]) -> Any:
    """Assert that each line of an ended batch stands exactly once in its output or error file; the batch."""
    batch = client.batches.retrieve(batch_id)
    output = lines_of(client, batch.output_file_id)
    errors = lines_of(client, batch.error_file_id)
    found = Counter(answer["custom_id"] for answer in (*output, *errors))
    missing = [custom_id for custom_id in ids if custom_id not in found]
    assert not missing, f"{len(missing)} lines are missing, the first of them {missing[:5]}"
    twice = [custom_id for custom_id, times in found.items() if times > 1]
    assert not twice, f"{len(twice)} lines stand twice, the first of them {twice[:5]}"
    assert len(found) == len(ids)
    idents = {answer["id"] for answer in (*output, *errors)}
    assert len(idents) == len(ids)
    assert all(answer["error"] is None and answer["response"]["status_code"] == 200 for answer in output)
    ran = [answer for answer in errors if (answer["error"] or {}).get("code") not in NEVER_RAN]
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (len(ids), len(output), len(ran))
    assert batch.usage.total_tokens == sum(
        answer["response"]["body"]["usage"]["total_tokens"] for answer in output
    )
    return batch


def check_ended(
    server: Server,
    batch_id: str,
    ids: Sequence[str],
    status: str = "completed",
    *,
    timeout_s: float = END_S_MAX,
) -> Any:
    """Wait until a batch has ended, and assert that it did so in this status, and its books; the batch."""
    assert wait_until_ended(server.client, batch_id, timeout_s).status == status
    return check_books(server.client, batch_id, ids)


def check_all_answered(
    server: Server, batch_id: str, ids: Sequence[str], journal: Journal | None = None
) -> None:
    """The same, and that no line failed; with a journal, that each was asked for."""
    assert check_ended(server, batch_id, ids).request_counts.failed == 0
    assert journal is None or set(journal.counts(ids)) == set(ids)


def resume_time(server: Server, batch_id: str, journal: Journal, since: float) -> float:
    """Seconds from a restart until a line was sent again or the batch ended, whichever came first."""

    def seconds() -> float | None:
        sent = journal.first_after(since)
        if sent is not None:
            return sent
        status = server.get(f"/v1/batches/{batch_id}")["status"]
        return time.time() - since if status in {"completed", "cancelled", "expired"} else None

    found: float = wait_until(seconds, lambda seconds: seconds is not None, RESUME_S_MAX)
    return found

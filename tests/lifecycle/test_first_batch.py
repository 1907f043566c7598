"""The main road: a file in, a batch, its files out."""

from __future__ import annotations

import pytest
from openai import OpenAI

from tests.support.processes import chat_line, jsonl, lines_of, submit, wait_until_ended

pytestmark = pytest.mark.server


def test_every_line_is_answered_under_its_custom_id(client: OpenAI) -> None:
    batch = submit(client, jsonl(*(chat_line(f"row-{n}") for n in range(200))), metadata={"run": "first"})
    assert batch.status == "validating"

    batch = wait_until_ended(client, batch.id)

    assert batch.status == "completed"
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (
        200,
        200,
        0,
    )
    assert batch.error_file_id is None
    assert batch.metadata == {"run": "first"}
    answers = lines_of(client, batch.output_file_id)
    assert {line["custom_id"] for line in answers} == {f"row-{n}" for n in range(200)}
    assert all(line["response"]["status_code"] == 200 and line["error"] is None for line in answers)
    total = sum(line["response"]["body"]["usage"]["total_tokens"] for line in answers)
    assert batch.usage.total_tokens == total

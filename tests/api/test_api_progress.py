"""What a batch says while nothing of it moves."""

from __future__ import annotations

from openai import OpenAI

from tests.support.processes import chat_line, jsonl, submit, wait_until


def test_lines_that_wait_to_be_tried_again_say_why(client: OpenAI) -> None:
    """A line that was answered 429 again and again held its batch open without a word."""
    batch = submit(client, jsonl(chat_line("busy", "[[sandbox:status=429]]")))

    seen = wait_until(
        lambda: client.batches.retrieve(batch.id).to_dict()["progress"], lambda progress: progress["paused"]
    )

    assert seen["in_flight"] == 0
    assert "1 wait to be tried again: the upstream is busy (429)" in seen["paused"]
    client.batches.cancel(batch.id)

"""A provider's webhook over HTTP: the provider is another server of ours, which signs as OpenAI does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.processes import (
    Server,
    chat_line,
    free_port,
    jsonl,
    running,
    submit,
    wait_until_ended,
)

pytestmark = pytest.mark.server
LINES = 2_000


def test_a_signed_webhook_of_a_provider_ends_a_wait_of_hours(
    data: Path, tmp_path: Path, server: Server
) -> None:
    port = free_port()
    hook = server.client.post(
        "/webhook_endpoints",
        cast_to=object,
        body={
            "name": "other",
            "url": f"http://127.0.0.1:{port}/upstreams/other/webhook",
            "event_types": ["batch.completed"],
        },
    )
    file = tmp_path / "bulkrate.toml"
    file.write_text(
        f"""
        [upstreams.other]
        kind = "openai-batch"
        provider = "bulkrate"
        url = "{server.root}"
        models = ["m"]
        poll_s = 20_000
        webhook_secret = "env:SECRET"
        """
    )
    flags = ("--config", str(file), "--port", str(port))
    try:
        with running(Server(data, flags=flags, env={"SECRET": hook["signing_secret"]})) as front:
            # So many that the provider does not end before we have heard that it has begun.
            lines = jsonl(*(chat_line(f"w-{number}", model="m") for number in range(LINES)))
            batch = wait_until_ended(front.client, submit(front.client, lines).id)
            assert (batch.status, batch.request_counts.completed) == ("completed", LINES)
    finally:
        server.client.delete(f"/webhook_endpoints/{hook['id']}", cast_to=object)

"""The log of a server through good and bad days: objects of JSON alone, and nobody's words but ours."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from bulkrate.telemetry import EVENTS
from tests.support.http import Http
from tests.support.processes import (
    Process,
    Server,
    chat_line,
    jsonl,
    running,
    sandbox,
    submit,
    wait_until,
    wait_until_ended,
)

pytestmark = pytest.mark.server

PROMPT = "xyzzy-what-a-person-asked"
KEY = "sk-xyzzy-of-the-upstream"
#: What happens to a line, as the sandbox's directives call it.
FATES = ("", "status=400", "status=500", "drop", "truncate", "garbage", "html=502", "reset")


def lines() -> list[dict]:
    told = [f"{PROMPT} {n}" + (f"[[sandbox:{fate}]]" if fate else "") for n, fate in enumerate(FATES)]
    return [chat_line(f"{PROMPT}-{n}", text) for n, text in enumerate(told)]


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_prompt_no_answer_and_no_key_is_in_the_log_of_a_real_run(data: Path, form: str):
    with running(sandbox("--key", KEY)) as upstream:
        env = {
            "MY_KEY": KEY,
            "BULKRATE_RETRY__ATTEMPTS_MAX": "2",
            "BULKRATE_RETRY__BACKOFF_S_MAX": "0.02",
            "BULKRATE_RETRY__OUTAGE_S": "0",
            "BULKRATE_LOG_FORMAT": form,
        }
        server = Server(data, upstream.url, flags=("--upstream-key", "env:MY_KEY"), env=env)
        with running(server):
            good = wait_until_ended(server.client, submit(server.client, jsonl(*lines())).id)
            assert good.request_counts.total == len(FATES)
            bad = submit(server.client, jsonl({"custom_id": PROMPT}) + PROMPT.encode())
            assert wait_until_ended(server.client, bad.id).status == "failed"
            Http(server.port, {"authorization": f"Bearer {KEY}"}).post("/v1/batches", PROMPT.encode())
            _lose(upstream)
            submit(server.client, jsonl(chat_line(PROMPT, PROMPT)))  # what cannot be sent tells at once
            server.wait_for_log("upstream_out")
            assert server.stop() == 0
        said = "".join(server.log)
        assert "batch_ended" in said
        assert "xyzzy" not in said
        answers = server.data.glob("blobs/batches/*/*.output")
        assert [answer for answer in answers if b"choices" in answer.read_bytes()], (
            "there was nothing to leak"
        )
        assert "choices" not in said
        if form == "json":
            events = [json.loads(line) for line in server.log]
            assert {event["event"] for event in events} <= set(EVENTS)
            assert all({"time", "level", "process", "event"} <= set(event) for event in events)


def _lose(upstream: Process) -> None:
    os.kill(upstream.popen.pid, signal.SIGKILL)
    wait_until(upstream.popen.poll, lambda code: code is not None)

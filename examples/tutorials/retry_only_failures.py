"""Part answers from failures, line by line, and run a second batch of nothing but the failures.

    OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=any MODEL=gpt-4o-mini \
        python examples/tutorials/retry_only_failures.py

First with the SDK, then the same with bulkrate, which keeps the rows and needs no lists.

A batch that is `completed` may hold failures. They stand in the error file, in two shapes: a line with
`error` never ran (the window closed, for example) or nobody answered; a line with `response` was answered,
with a status that is not 200. Both are asked again here. An error line does not repeat what was asked, so the
bodies are kept until the end.

So that there is something to retry, some texts ask the sandbox to refuse them the first time; to a model they
are texts like any other.
"""

import json
import os
import secrets
import time
from typing import Any

from openai import OpenAI

import bulkrate

MODEL = os.environ.get("MODEL", "gpt-4o-mini")
ENDPOINT = "/v1/chat/completions"
POLL_S = 0.5  # against OpenAI itself: 30 or more
ENDED = {"completed", "failed", "expired", "cancelled"}

client = OpenAI()


def texts(run: str) -> list[str]:
    """One hundred questions; every tenth is refused once. The sandbox knows by the words what it has refused,
    so each run has words of its own.
    """
    trouble = "[[sandbox:fail_first=1,status=400]]"
    return [
        f"Run {run}: what is {number} times {number}? {trouble if number % 10 == 0 else ''}"
        for number in range(100)
    ]


def run_batch(bodies: dict[str, dict[str, Any]]) -> tuple[dict[str, Any], dict[str, str]]:
    """Run bodies as a batch: the answers, and why there is none, by `custom_id`."""
    lines = [
        json.dumps({"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": body}) + "\n"
        for custom_id, body in bodies.items()
    ]
    file = client.files.create(file=("questions.jsonl", "".join(lines).encode()), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint=ENDPOINT, completion_window="24h")
    while batch.status not in ENDED:
        time.sleep(POLL_S)
        batch = client.batches.retrieve(batch.id)
    if batch.status == "failed":  # the file itself was refused, and no line ran
        raise SystemExit(f"batch {batch.id} failed: {batch.errors}")
    answered: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for file_id in filter(None, (batch.output_file_id, batch.error_file_id)):
        for line in map(json.loads, client.files.content(file_id).text.splitlines()):
            if line["error"] is not None:
                failed[line["custom_id"]] = line["error"]["code"]
            elif line["response"]["status_code"] != 200:
                failed[line["custom_id"]] = f"HTTP {line['response']['status_code']}"
            else:
                answered[line["custom_id"]] = line["response"]["body"]
    return answered, failed


questions = texts(secrets.token_hex(4))
bodies = {
    f"question-{number}": {"model": MODEL, "messages": [{"role": "user", "content": text}]}
    for number, text in enumerate(questions)
}
answered, failed = run_batch(bodies)
print(f"SDK: {len(answered)} answered, {len(failed)} failed: {sorted(set(failed.values()))}")
if failed:
    again, still = run_batch({custom_id: bodies[custom_id] for custom_id in failed})
    answered |= again
    print(f"SDK: after a batch of {len(failed)}: {len(answered)} answered, {len(still)} failed")

job = bulkrate.map(texts(secrets.token_hex(4)), model=MODEL).wait()
print(f"bulkrate: {job.summary['answered']} answered, {job.summary['failed']} failed")
if job.summary["failed"]:
    results = job.retry_failed().result()
    print(f"bulkrate: after retry_failed(): {sum(each.ok for each in results)} answered")
    print("sent twice:", [each.index for each in results if each.attempts > 1])

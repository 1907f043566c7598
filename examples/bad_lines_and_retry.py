"""Let bad lines fail alone, look at each failure, and run again only what has no answer.

OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=any python examples/bad_lines_and_retry.py
"""

import json
import time

from openai import OpenAI
from openai.types import Batch

client = OpenAI()


def line(custom_id: str, text: str) -> str:
    """One input line."""
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body})


def wait(batch: Batch) -> Batch:
    """The batch, once it has ended."""
    while batch.status not in {"completed", "failed", "expired", "cancelled"}:
        time.sleep(0.2)
        batch = client.batches.retrieve(batch.id)
    return batch


# The sandbox answers 400 to the second line, as a server does that does not like its parameters. The third is
# no JSON.
content = "\n".join([line("good", "Hello"), line("refused", "[[sandbox:status=400]]"), "{oops"])
file = client.files.create(file=("mixed.jsonl", content.encode()), purpose="batch")
batch = client.batches.create(
    input_file_id=file.id,
    endpoint="/v1/chat/completions",
    completion_window="24h",
    extra_body={"on_invalid_line": "isolate"},
)
batch = wait(batch)
print(batch.status, batch.request_counts)

for record in map(json.loads, client.files.content(batch.error_file_id or "").text.splitlines()):
    if record["error"] is not None:
        print(record["custom_id"], "did not run:", record["error"]["code"])
    else:
        response = record["response"]
        print(
            record["custom_id"], "was refused:", response["status_code"], response["body"]["error"]["message"]
        )

retry = wait(Batch.model_validate(client.post(f"/batches/{batch.id}/retry", cast_to=object)))
print("retried", retry.request_counts.total if retry.request_counts else 0, "lines without an answer")

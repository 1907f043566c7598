"""Classify 1,000 reviews in chunks of 100: ten batches side by side, watched until all have ended.

    OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=any MODEL=gpt-4o-mini \
        python examples/tutorials/classify_in_chunks.py

Nothing but the official SDK. What programs like this one often lack:

- the chunks are begun together, not one after the other;
- `failed`, `expired` and `cancelled` end a batch as `completed` does; who waits for `completed` alone waits
  for ever;
- answers come in any order, and are found by their `custom_id`;
- a batch may have no output file (nothing succeeded) or no error file (nothing failed).

The same in one call, where chunks are no concern of yours:

    labels = ["positive", "negative", "neutral"]
    bulkrate.classify("examples/reviews.jsonl", column="text", labels=labels, model="gpt-4o-mini").result()
"""

import json
import os
import time
from collections import Counter
from pathlib import Path

from openai import OpenAI
from openai.types import Batch

MODEL = os.environ.get("MODEL", "gpt-4o-mini")
REVIEWS = Path(__file__).parents[1] / "reviews.jsonl"
PROMPT = "Classify the sentiment of this review. Answer positive, negative or neutral, in one word.\n\n{text}"
CHUNK = 100
POLL_S = 0.5  # OpenAI's own batches take minutes to hours: there, 30 or more
ENDED = {"completed", "failed", "expired", "cancelled"}

client = OpenAI()


def line(review: dict[str, str]) -> str:
    """One input line."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": PROMPT.format(text=review["text"])}]}
    request = {"custom_id": review["id"], "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(request) + "\n"


def begin(chunk: list[dict[str, str]]) -> Batch:
    """Upload a chunk and begin its batch."""
    content = "".join(map(line, chunk)).encode()
    file = client.files.create(file=("reviews.jsonl", content), purpose="batch")
    return client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )


def answers(batch: Batch) -> dict[str, str]:
    """What the model said, by `custom_id`."""
    if batch.output_file_id is None:
        return {}
    lines = map(json.loads, client.files.content(batch.output_file_id).text.splitlines())
    return {each["custom_id"]: each["response"]["body"]["choices"][0]["message"]["content"] for each in lines}


reviews = [json.loads(line) for line in REVIEWS.read_text(encoding="utf-8").splitlines()]
batches = [begin(reviews[start : start + CHUNK]) for start in range(0, len(reviews), CHUNK)]
print(f"{len(reviews):,} reviews in {len(batches)} batches")

while not all(batch.status in ENDED for batch in batches):
    time.sleep(POLL_S)
    batches = [batch if batch.status in ENDED else client.batches.retrieve(batch.id) for batch in batches]
    counts = [batch.request_counts for batch in batches if batch.request_counts]
    print(
        f"{sum(each.completed for each in counts):,} answered, {sum(each.failed for each in counts):,} failed"
    )

for batch in batches:
    if batch.status != "completed":
        print(batch.id, "is", batch.status, batch.errors)

found: dict[str, str] = {}
for batch in batches:
    found |= answers(batch)
print(Counter(answer.strip().rstrip(".").lower() for answer in found.values()).most_common(4))
for review in reviews[:3]:
    print(review["id"], found.get(review["id"], "(no answer)"), "|", review["text"][:60])

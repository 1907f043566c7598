"""Cut 3,000 tickets into batches by tokens, so that no batch is larger than what may be queued.

    OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=any MODEL=gpt-4o-mini \
        python examples/tutorials/chunk_by_tokens.py

OpenAI limits the input tokens that may wait in all batches of a model together; beyond that a batch fails
with `token_limit_exceeded`. So a chunk is as many requests as fit, and the next is begun when the last has
ended. The same cut keeps to the two limits of an input file: 50,000 lines and 200 MB.

`counter()` needs no network. It guesses, and says how far off it may be; `pip install 'bulkrate[tokens]'`
makes it exact for OpenAI's models. To be safe, the high end of the guess is what counts. What was used is the
server's own count; the sandbox has no tokeniser, and only estimates.

A bulkrate server has no such limit: there, one batch would do.
"""

import json
import os
import random
import time
from collections.abc import Iterable, Iterator
from typing import Any

from openai import OpenAI
from openai.types import Batch

from bulkrate.toolkit.prices.counting import counter

MODEL = os.environ.get("MODEL", "gpt-4o-mini")
ENDPOINT = "/v1/chat/completions"
TOKENS_MAX = 90_000  # what your organisation's page of limits says
LINES_MAX = 50_000
BYTES_MAX = 200_000_000
POLL_S = 0.5  # against OpenAI itself: 30 or more
ENDED = {"completed", "failed", "expired", "cancelled"}

PHRASES = [
    "The app signs me out whenever I switch to another window.",
    "My invoice for March shows two seats, and we have only one.",
    "Export to CSV stops at the first row with an umlaut: Müller.",
    "Could you tell me where the setting for the time zone went?",
    "Nothing has been synchronised since the update on Tuesday.",
]

client = OpenAI()
counted = counter()


def requests(count: int) -> Iterator[dict[str, Any]]:
    """Tickets of very different lengths, the same in every run."""
    dice = random.Random(7)
    for number in range(count):
        ticket = " ".join(dice.choices(PHRASES, k=dice.choice([1, 2, 4, 16])))
        body = {
            "model": MODEL,
            "messages": [{"role": "user", "content": f"Summarise in five words: {ticket}"}],
            "max_completion_tokens": 20,
        }
        yield {"custom_id": f"ticket-{number}", "method": "POST", "url": ENDPOINT, "body": body}


def chunks(lines: Iterable[dict[str, Any]]) -> Iterator[tuple[bytes, int]]:
    """Input files within all three limits, each with its tokens."""
    content, tokens, count = bytearray(), 0, 0
    for request in lines:
        size = counted.request(request["body"], ENDPOINT).input.high
        data = json.dumps(request).encode() + b"\n"
        full = tokens + size > TOKENS_MAX or count == LINES_MAX or len(content) + len(data) > BYTES_MAX
        if count and full:
            yield bytes(content), tokens
            content, tokens, count = bytearray(), 0, 0
        content += data
        tokens += size
        count += 1
    if count:
        yield bytes(content), tokens


def run(content: bytes) -> Batch:
    """A batch, once it has ended."""
    file = client.files.create(file=("tickets.jsonl", content), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint=ENDPOINT, completion_window="24h")
    while batch.status not in ENDED:
        time.sleep(POLL_S)
        batch = client.batches.retrieve(batch.id)
    return batch


print(f"at most {TOKENS_MAX:,} tokens in a batch")
answered = 0
for number, (content, tokens) in enumerate(chunks(requests(3_000)), start=1):
    batch = run(content)
    done = batch.request_counts.completed if batch.request_counts else 0
    used = f"{batch.usage.input_tokens:,}" if batch.usage else "unknown"
    print(f"batch {number}: {batch.status}, {done:,} answered; tokens: {tokens:,} counted, {used} used")
    answered += done
print(f"{answered:,} of 3,000 tickets are answered")

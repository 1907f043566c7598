"""The same in Python: a label for every review, answers as they come, and the failures once more.

OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=any python examples/rows/classify.py
"""

import os
from collections import Counter
from pathlib import Path

import bulkrate

job = bulkrate.classify(
    Path(__file__).parents[1] / "reviews.jsonl",
    column="text",
    labels=["positive", "negative", "neutral"],
    model=os.environ.get("MODEL", "gpt-4o-mini"),
    params={"max_tokens": 20},
    max_cost=1,
)

labels: Counter[str] = Counter()
for result in job.rows():
    if result.ok:
        labels[result.value] += 1
    else:
        print(f"row {result.index}: {result.error}")

if job.result().failed:
    job.retry_failed().wait()

print(job)
print("labels", dict(labels))

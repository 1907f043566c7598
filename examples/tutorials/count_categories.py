"""Classify reviews and count the categories: all of them, and for each company.

    OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=any MODEL=gpt-4o-mini \
        python examples/tutorials/count_categories.py

Every answer is one of the labels: it is asked for by a schema, checked, and asked for again if it is none. So
counting needs no cleaning up. The second half needs Polars (`pip install polars`).
"""

import os
from pathlib import Path

import polars as pl

import bulkrate

MODEL = os.environ.get("MODEL", "gpt-4o-mini")
REVIEWS = Path(__file__).parents[1] / "reviews.jsonl"

job = bulkrate.classify(
    REVIEWS,
    column="text",
    labels=["delivery", "price", "quality", "service"],
    other=True,
    model=MODEL,
).wait()

print(f"{job.summary['answered']:,} of {job.summary['rows']:,} reviews have a category")
for category, count in job.summary["values"].items():
    print(f"{count:6,}  {category}")

by_company = (
    job.to_polars()
    .group_by("company", "label")
    .agg(pl.len().alias("reviews"), pl.col("rating").mean().round(1))
    .sort("reviews", "company", descending=[True, False])
)
print(by_company.head(5))

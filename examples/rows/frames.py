"""A frame in, a frame out, as in a notebook: ask about every review, then count with Polars and pandas.

OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=any python examples/rows/frames.py
"""

# %% Reviews of one company.
import os
from pathlib import Path

import polars as pl

import bulkrate

reviews = pl.read_ndjson(Path(__file__).parents[1] / "reviews.jsonl")
company = reviews.group_by("company").len().sort("len", "company", descending=[True, False])["company"][0]
chosen = reviews.filter(pl.col("company") == company)
print(f"{len(chosen)} reviews of {company}")

# %% What each of them complains about.
job = bulkrate.extract(
    chosen,
    column="text",
    schema={"complaints": list[str], "would_buy_again": bool},
    model=os.environ.get("MODEL", "gpt-4o-mini"),
    params={"max_tokens": 200},
    max_cost=1,
)
answered = job.to_polars()
print(answered.select("id", "rating", "complaints", "would_buy_again").head(5))

# %% Counted.
print(answered.explode("complaints")["complaints"].value_counts(sort=True).head(5))
frame = job.to_pandas()
print(frame.groupby("would_buy_again")["rating"].agg(["mean", "count"]))
print("cost", job.cost)

"""Several models in one job: chosen by a rule, by a column, and by how sure a smaller model was.

    OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=any \
        SMALL=gpt-4o-mini BIG=gpt-4o python examples/tutorials/mixed_models.py

OpenAI takes one model a batch, so programs sort their requests by model and run a batch for each. Here
bulkrate does: against OpenAI it makes one batch for each model, against a bulkrate server one for all.
"""

import os
import random
from collections import Counter

import bulkrate

SMALL = os.environ.get("SMALL", "gpt-4o-mini")
BIG = os.environ.get("BIG", "gpt-4o")

SUBJECTS = ["The invoice", "The export", "The new search", "My password", "The mobile app"]
TROUBLES = ["is wrong", "does not load", "was gone this morning", "takes a minute", "is hard to find"]

dice = random.Random(7)
tickets = [
    {
        "id": number,
        "plan": dice.choice(["free", "free", "free", "team", "enterprise"]),
        "text": f"{dice.choice(SUBJECTS)} {dice.choice(TROUBLES)}. Ticket {number}.",
        "model": BIG if number % 50 == 0 else None,  # somebody looked at these and wants the better model
    }
    for number in range(300)
]

# The first rule that fits, else the model that the column names, else `model`.
job = bulkrate.summarize(
    tickets,
    column="text",
    words=5,
    rules=[("plan", "enterprise", BIG)],
    model_column="model",
    model=SMALL,
)
print("by rule and column:", dict(Counter(each.model for each in job.result())))

# A cascade: everything is asked of the small model. What failed, is no label, or is less sure than 0.5, is
# asked of the big one.
job = bulkrate.classify(
    tickets,
    column="text",
    labels=["billing", "fault", "question"],
    confidence=True,
    model=SMALL,
    min_confidence=0.5,
    escalate=[BIG],
)
results = job.result()
print("cascade:", dict(Counter(each.model for each in results)), "| rounds:", job.summary["rounds"])
for each in results[:3]:
    print(each.row["text"], "->", each.value, each.confidence, "by", each.model)

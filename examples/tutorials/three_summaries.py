"""Three summaries in one call: the answers come in the order of the questions.

    OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=any MODEL=gpt-4o-mini \
        python examples/tutorials/three_summaries.py

No file, no upload, no polling, no `custom_id`. The bodies are those of the API, and so are the answers. A
request that fails is an error in its place; the others have their answers.
"""

import os

import bulkrate

MODEL = os.environ.get("MODEL", "gpt-4o-mini")
TEXTS = [
    "The harbour froze for the first time in forty years, and children walked to the lighthouse.",
    "The council voted to keep the night bus, after nurses had counted the passengers for a month.",
    "A baker in the old town sells yesterday's bread at noon, and is sold out by one.",
]

results = bulkrate.batch(
    {"model": MODEL, "messages": [{"role": "user", "content": f"Summarise in five words: {text}"}]}
    for text in TEXTS
)
for text, result in zip(TEXTS, results, strict=True):
    print(text)
    print("  ->", result.value["choices"][0]["message"]["content"] if result.ok else result.error)

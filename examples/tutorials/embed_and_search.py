"""Embed 10,000 documents into a vector store, LanceDB, and search it.

    pip install 'bulkrate[lancedb]'
    OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=any MODEL=text-embedding-3-small \
        python examples/tutorials/embed_and_search.py ["a question"]

The documents are made up here, and the store is the folder `library` where you are. `id` names what tells
documents apart: run it again, and only those that are new or have changed are embedded.

The sandbox's vectors know no meaning; equal texts have equal vectors, and that is all. So the question is one
of the documents unless you ask your own, which makes sense with a real model.
"""

import os
import random
import sys

import bulkrate

try:
    import lancedb
except ImportError:
    sys.exit("this example needs LanceDB: pip install 'bulkrate[lancedb]'")

MODEL = os.environ.get("MODEL", "text-embedding-3-small")
THINGS = ["kettle", "lamp", "backpack", "keyboard", "tent", "bicycle", "blender", "chair", "clock", "router"]
TRAITS = [
    "light",
    "quiet",
    "folding",
    "waterproof",
    "solid",
    "wireless",
    "small",
    "red",
    "refurbished",
    "warm",
]
USES = ["for travelling", "for a small kitchen", "for the office", "for children", "for cold nights"]

dice = random.Random(7)
documents = [
    {
        "id": number,
        "text": f"Article {number}: a {dice.choice(TRAITS)}, {dice.choice(TRAITS)} {dice.choice(THINGS)} "
        f"{dice.choice(USES)}, {dice.randint(5, 900)} euros.",
    }
    for number in range(10_000)
]

job = bulkrate.embed(
    documents, column="text", id="id", model=MODEL, output="lancedb://library#documents"
).wait()
facts = job.summary
print(f"{facts['answered']:,} documents have a vector, {facts['reused']:,} of them from an earlier run")

question = sys.argv[1] if len(sys.argv) > 1 else documents[4321]["text"]
vector = bulkrate.embed([question], model=MODEL).result()[0].value
table = lancedb.connect("library").open_table("documents")
found = table.search(vector, vector_column_name="embedding").distance_type("cosine").limit(3).to_list()
print(f"{table.count_rows():,} rows in the store; nearest to {question!r}:")
for row in found:
    print(f"{1 - row['_distance']:.3f}  {row['text']}")

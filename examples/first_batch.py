"""Upload, create, wait, download: the whole of the Batch API in one screen.

OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=any python examples/first_batch.py
"""

import json
import time

from openai import OpenAI

client = OpenAI()

questions = ["What is the capital of France?", "What is two plus two?", "Name a colour."]
lines = [
    {
        "custom_id": f"question-{number}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": question}]},
    }
    for number, question in enumerate(questions)
]
content = "".join(json.dumps(line) + "\n" for line in lines).encode()

file = client.files.create(file=("questions.jsonl", content), purpose="batch")
batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
while batch.status not in {"completed", "failed", "expired", "cancelled"}:
    time.sleep(0.2)
    batch = client.batches.retrieve(batch.id)

print(batch.status, batch.request_counts)
if batch.output_file_id:
    for line in client.files.content(batch.output_file_id).text.splitlines():
        answer = json.loads(line)
        print(answer["custom_id"], answer["response"]["body"]["choices"][0]["message"]["content"])

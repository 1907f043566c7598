"""Curator in online mode, as its guide shows it. Run in the peer's environment.

python curator_online.py URL INPUT IN_FLIGHT
"""

import json
import os
import sys
import time
from pathlib import Path

os.environ |= {"TELEMETRY_ENABLED": "False", "CURATOR_DISABLE_RICH_DISPLAY": "1", "HF_HUB_OFFLINE": "1"}

from bespokelabs import curator

_NO_LIMIT_PER_MINUTE = 1_000_000_000


def main(url: str, path: str, in_flight: int) -> None:
    bodies = [json.loads(line)["body"] for line in Path(path).read_text(encoding="utf-8").splitlines()]
    model = curator.LLM(
        model_name=bodies[0]["model"],
        backend="openai",
        generation_params={"max_tokens": bodies[0]["max_tokens"]},
        backend_params={
            "base_url": url,
            "api_key": "any",
            "max_concurrent_requests": in_flight,
            "max_requests_per_minute": _NO_LIMIT_PER_MINUTE,
            "max_tokens_per_minute": _NO_LIMIT_PER_MINUTE,
        },
    )
    # Rows that are equal would be answered from its cache.
    prompts = [f"{body['messages'][0]['content']} {number}" for number, body in enumerate(bodies)]
    began = time.monotonic()
    answers = model(prompts).dataset
    took = time.monotonic() - began
    print(json.dumps({"answered": len(answers), "seconds": took}))


main(sys.argv[1], sys.argv[2], int(sys.argv[3]))

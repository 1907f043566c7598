"""LiteLLM's `batch_completion`: a list of conversations, a pool of threads. Run in the peer's environment.

python litellm_batch_completion.py URL INPUT IN_FLIGHT
"""

import json
import os
import sys
import time
from pathlib import Path

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else its prices are fetched from the network at import

import litellm


def main(url: str, path: str, in_flight: int) -> None:
    bodies = [json.loads(line)["body"] for line in Path(path).read_text(encoding="utf-8").splitlines()]
    told = {
        "model": f"openai/{bodies[0]['model']}",
        "max_tokens": bodies[0]["max_tokens"],
        "api_base": url,
        "api_key": "any",
        "max_workers": in_flight,
    }
    conversations = [body["messages"] for body in bodies]
    litellm.batch_completion(messages=conversations[:1], **told)
    began = time.monotonic()
    answers = litellm.batch_completion(messages=conversations, **told)
    took = time.monotonic() - began
    answered = sum(not isinstance(answer, Exception) for answer in answers)
    print(json.dumps({"answered": answered, "seconds": took}))


main(sys.argv[1], sys.argv[2], int(sys.argv[3]))

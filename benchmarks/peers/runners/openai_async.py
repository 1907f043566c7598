"""The official SDK's asynchronous client, so many requests at a time. Run in the peer's environment.

With its aiohttp transport where that is installed, which its documentation has for many requests at once.

    python openai_async.py URL INPUT IN_FLIGHT
"""

import asyncio
import json
import sys
import time
from pathlib import Path

from openai import AsyncOpenAI, DefaultAioHttpClient, DefaultAsyncHttpxClient

try:
    import aiohttp  # noqa: F401  # whether the extra is installed
except ImportError:
    transport = DefaultAsyncHttpxClient
else:
    transport = DefaultAioHttpClient


async def main(url: str, bodies: list[dict], in_flight: int) -> None:
    room = asyncio.Semaphore(in_flight)

    async with AsyncOpenAI(base_url=url, api_key="any", max_retries=0, http_client=transport()) as client:

        async def ask(body: dict) -> bool:
            async with room:
                answer = await client.chat.completions.create(**body)
            return bool(answer.choices[0].message.content)

        await ask(bodies[0])
        began = time.monotonic()
        answered = sum(await asyncio.gather(*map(ask, bodies)))
        took = time.monotonic() - began
    print(json.dumps({"answered": answered, "seconds": took}))


lines = Path(sys.argv[2]).read_text(encoding="utf-8").splitlines()
asyncio.run(main(sys.argv[1], [json.loads(line)["body"] for line in lines], int(sys.argv[3])))

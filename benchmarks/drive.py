"""Driving an upstream without a server: by a load generator in C, by a good HTTP library, by our own client.

All send the same bodies and throw the answers away. Nothing is validated, kept or counted: they show what the
machine and the clients allow.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyreqwest.client import Client, ClientBuilder

from bulkrate.config import Limits, Upstream
from bulkrate.dispatch.client import Client as OurClient

_JSON = "application/json"
_WRK_SCRIPT = 'wrk.method = "POST"\nwrk.headers["Content-Type"] = "{json}"\nwrk.body = {body}\n'
_WRK_RATE = re.compile(r"^Requests/sec:\s+([\d.]+)", re.MULTILINE)
_AB_RATE = re.compile(r"^Requests per second:\s+([\d.]+)", re.MULTILINE)
# What each says when answers were not 200, or when connections broke.
_WRK_TROUBLE = re.compile(r"Non-2xx or 3xx responses|Socket errors: connect [1-9]")
_AB_TROUBLE = re.compile(r"^(?:Failed requests|Non-2xx responses):\s+[1-9]", re.MULTILINE)
_BEYOND_S = 30


@dataclass(frozen=True)
class Driven:
    """What a drive came to. CPU seconds are those of the driving process."""

    lines_per_s: float
    cpu_s_per_1000: float


def bodies_of(path: Path) -> list[bytes]:
    """The request bodies of an input file, as they stand in it."""
    with path.open("rb") as source:
        return [json.dumps(json.loads(line)["body"]).encode() for line in source]


def load_generator() -> str | None:
    """The load generator in C that is installed, if one is: `wrk`, else `ab`."""
    return next((name for name in ("wrk", "ab") if shutil.which(name)), None)


def by_load_generator(
    name: str, url: str, body: bytes, folder: Path, *, in_flight: int, seconds: int
) -> float:
    """Requests a second that `wrk` or `ab` gets out of the upstream, for about so many seconds."""
    target = f"{url}/chat/completions"
    if name == "wrk":
        script = folder / "post.lua"
        # A JSON string is a Lua string, as long as it is ASCII without \u.
        script.write_text(_WRK_SCRIPT.format(json=_JSON, body=json.dumps(body.decode())), encoding="ascii")
        asked = ["wrk", "-t1", f"-c{in_flight}", f"-d{seconds}s", "-s", str(script), target]
        rate, trouble = _WRK_RATE, _WRK_TROUBLE
    else:
        file = folder / "body.json"
        file.write_bytes(body)
        asked = ["ab", "-q", "-k", "-c", str(in_flight), "-t", str(seconds), "-n", "100000000"]
        asked += ["-p", str(file), "-T", _JSON, target]
        rate, trouble = _AB_RATE, _AB_TROUBLE
    said = subprocess.run(
        asked, capture_output=True, text=True, timeout=seconds + _BEYOND_S, check=True
    ).stdout
    found = rate.search(said)
    assert found is not None, f"{name} told no rate:\n{said}"
    assert not trouble.search(said), f"{name} had trouble:\n{said}"
    return float(found[1])


async def by_library(url: str, bodies: Sequence[bytes], *, in_flight: int) -> Driven:
    """Send every body with pyreqwest as its documentation shows it, so many at a time."""
    client = (
        ClientBuilder()
        .default_headers({"content-type": _JSON})
        .pool_max_idle_per_host(in_flight)
        .follow_redirects(False)
        .build()
    )
    began, cpu_began = time.monotonic(), time.process_time()
    left = iter(bodies)
    async with client, asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(_send(client, f"{url}/chat/completions", left))
    took, cpu = time.monotonic() - began, time.process_time() - cpu_began
    return Driven(len(bodies) / took, cpu / len(bodies) * 1000)


async def by_our_client(url: str, bodies: Sequence[bytes], *, in_flight: int) -> Driven:
    """Send every body with the client of bulkrate's dispatcher, so many at a time."""
    client = OurClient(Upstream(url=url), answer_bytes_max=Limits().answer_bytes_max)

    async def send(left: Iterator[bytes]) -> None:
        for body in left:
            answer = await client.post("/v1/chat/completions", body)
            assert answer.status == 200, answer

    began, cpu_began = time.monotonic(), time.process_time()
    left = iter(bodies)
    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(send(left))
    took, cpu = time.monotonic() - began, time.process_time() - cpu_began
    await client.close()
    return Driven(len(bodies) / took, cpu / len(bodies) * 1000)


async def _send(client: Client, url: str, bodies: Iterator[bytes]) -> None:
    for body in bodies:
        answer = await client.post(url).body_bytes(body).build().send()
        content = await answer.bytes()
        assert answer.status == 200, bytes(content)

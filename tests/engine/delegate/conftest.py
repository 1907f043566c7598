"""A whole engine in this process, before the double of a provider: what the one bought shows in the other's
books.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bulkrate.config import Settings, Timing, Upstream
from bulkrate.engine.bell import Waiter
from bulkrate.engine.context import Context, close_context, open_context
from bulkrate.engine.delegate.worker import Delegate
from bulkrate.engine.engine import Engine
from bulkrate.engine.loops.clerk import Clerk
from bulkrate.engine.loops.send import Sender
from bulkrate.engine.roles import CLERK, DELEGATE, sender_roles
from bulkrate.engine.upstreams import known_upstreams
from bulkrate.store.records import RemoteRecord
from bulkrate.testing.providers import Double, Faults, OpenAIProxy, serving
from bulkrate.wire.batches import Batch, CreateBatch
from tests.support.processes import Server, chat_line, jsonl

MODEL = "gpt-4o-mini"
WAIT_S_MAX = 60.0
_names = itertools.count(1)


class Clock:
    """The true time, and what it was moved on by."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: Any) -> bool | None:
    """Tests here are coroutines: run each in a loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    asyncio.run(pyfuncitem.obj(**wanted))
    return True


@dataclass
class Provider:
    """A double that is served."""

    double: Double
    url: str
    kind: str

    def go_wrong(self, **faults: Any) -> None:
        """Set the double's faults; all others are off."""
        self.double.faults = Faults(**faults)

    @property
    def created(self) -> list[int]:
        """How many lines each remote batch had."""
        return [one["lines"] for one in self.double.books.created]

    @property
    def files(self) -> list[str]:
        """The files that are left there."""
        return list(self.double.files)

    def bought(self, ids: list[str]) -> Counter[str]:
        """How often each of these lines was answered, and so billed."""
        texts = self.double.books.texts
        return Counter(
            {custom_id: texts[text_of(custom_id)] for custom_id in ids if texts[text_of(custom_id)]}
        )


def text_of(custom_id: str) -> str:
    """What a line asks: nobody else's line asks the same."""
    return f"hello {custom_id}"


def fresh_ids(count: int) -> list[str]:
    """`custom_id`s that no other test has."""
    test = next(_names)
    return [f"t{test}-{number}" for number in range(count)]


class House:
    """An engine at work: a clerk, a delegate and a sender, on one data folder."""

    def __init__(self, context: Context, clock: Clock) -> None:
        self.context = context
        self.clock = clock
        self.engine = Engine(context)

    async def begin(self, ids: list[str], *, window: str = "24h", model: str = MODEL, **create: Any) -> str:
        """Upload a line for each id and begin a batch; its id."""
        lines = jsonl(*(chat_line(custom_id, text_of(custom_id), model=model) for custom_id in ids))
        return await self.begin_with(lines, window=window, **create)

    async def begin_with(
        self, lines: bytes, *, window: str = "24h", endpoint: str = "/v1/chat/completions", **create: Any
    ) -> str:
        """Upload these lines and begin a batch; its id."""
        incoming = await self.engine.files.receive()
        await incoming.write(lines)
        file = await self.engine.files.keep(
            "default", incoming, filename="in.jsonl", purpose="batch", expires_after=None
        )
        ask = CreateBatch(input_file_id=file.id, endpoint=endpoint, completion_window=window, **create)
        return (await self.engine.batches.create("default", ask)).id

    async def batch(self, batch_id: str) -> Batch:
        """The batch as the API shows it."""
        return await self.engine.batches.get("default", batch_id)

    async def until(self, batch_id: str, good: Any) -> Batch:
        """The batch, once it is `good`."""
        async with asyncio.timeout(WAIT_S_MAX):
            while not good(batch := await self.batch(batch_id)):
                await asyncio.sleep(0.01)
        return batch

    async def until_ended(self, batch_id: str) -> Batch:
        """The batch, once it has ended."""
        return await self.until(
            batch_id, lambda batch: batch.status in {"completed", "failed", "expired", "cancelled"}
        )

    async def until_cleared(self, batch_id: str) -> list[RemoteRecord]:
        """The remote batches of a batch, once nothing is left to do for any."""
        async with asyncio.timeout(WAIT_S_MAX):
            while True:
                found = self.context.store.remotes.of_batch(batch_id)
                if all(one.removed_at is not None for one in found):
                    return found
                await asyncio.sleep(0.01)

    async def results(self, batch_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The lines of the output and of the error file by `custom_id`; each line is in one of them, once."""
        batch = await self.batch(batch_id)
        found: list[dict[str, Any]] = []
        for file_id in (batch.output_file_id, batch.error_file_id):
            lines: dict[str, Any] = {}
            if file_id is not None:
                content = await self.engine.files.content("default", file_id)
                data = b"".join([chunk async for chunk in content.read(0, content.size)])
                for line in map(json.loads, data.splitlines()):
                    assert line["custom_id"] not in lines, "a line stands twice"
                    lines[line["custom_id"]] = line
            found.append(lines)
        output, errors = found
        assert not set(output) & set(errors)
        assert len(output) + len(errors) == batch.request_counts.total
        return output, errors


@contextlib.asynccontextmanager
async def housed(
    data: Path, upstreams: dict[str, Upstream], *, clock: Clock | None = None
) -> AsyncIterator[House]:
    """An engine at work while this is entered. Entered again on the same folder, it goes on."""
    # Tests move the clock by days: leases must outlast them.
    timing = Timing(commit_s_max=0.01, poll_s=0.02, sweep_s=0.05, grace_s=1.0, lease_s=1e8)
    settings = Settings(data=str(data), upstreams=upstreams, timing=timing, workers=1)
    clock = clock or Clock()
    context = replace(open_context(settings), clock=clock)
    context.store.work.bury_all()
    house = House(context, clock)
    roles = [CLERK, *(sender_roles(settings) if settings.online else []), DELEGATE]
    workers: list[Any] = []
    tasks: list[asyncio.Task[None]] = []
    for role in roles:
        epoch = context.store.work.enlist(role, now=clock(), lease_s=timing.lease_s)
        if role == CLERK:
            worker: Any = Clerk(context, epoch)
            bell = context.bells.clerk
        elif role == DELEGATE:
            worker, bell = Delegate(context, epoch), context.bells.senders[-1]
        else:
            worker, bell = Sender(context, epoch, role), context.bells.senders[0]
        workers.append(worker)
        tasks.append(asyncio.create_task(worker.run(Waiter(bell)), name=role))
    try:
        async with asyncio.timeout(WAIT_S_MAX):
            while not all(upstream.told for upstream in known_upstreams(context)):
                await asyncio.sleep(0.01)
        yield house
    finally:
        for worker in workers:
            worker.stop()
        await asyncio.gather(*tasks)
        close_context(context)


def delegated(provider: Provider, **settings: Any) -> Upstream:
    """The settings of an upstream that is the provider."""
    given = {"key": provider.double.key, "models": [MODEL], "poll_s": 0.05, "kind": provider.kind}
    return Upstream(url=provider.url, **(given | settings))


@pytest.fixture
def openai(server: Server) -> Iterator[Provider]:
    """OpenAI's wire: a real server, and before it the proxy that makes things go wrong."""
    double = OpenAIProxy(server.url)
    with serving(double) as url:
        yield Provider(double, f"{url}/v1", "openai-batch")

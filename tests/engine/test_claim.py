"""Claims: whoever comes after a dead worker passes over what was done in a few of them."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

from bulkrate.config import Settings, Upstream
from bulkrate.core.plan import Fate, Planned, write_planned
from bulkrate.dispatch import Dispatcher
from bulkrate.engine.context import Context, close_context, open_context
from bulkrate.engine.log import BatchLog, LogWriter
from bulkrate.engine.loops.claim import Claims
from bulkrate.store import Store
from bulkrate.store.records import LogEnds, Range, Want
from bulkrate.testing.blobs import store as keep
from tests.store.records import NOW, a_batch, a_file, a_shard, a_worker, admit
from tests.support.processes import chat_line, jsonl

DONE = 20_000
LEFT = 50
BATCH = "batch_1"
WAIT_S_MAX = 60


def a_shard_half_done(context: Context) -> None:
    """A worker answered the first lines, committed them, and died before it could give back its range."""
    store, blobs, lines = context.store, context.blobs, DONE + LEFT
    content = jsonl(*(chat_line(f"row-{number}", model="m") for number in range(1, lines + 1)))
    plan, offset = [], 0
    for number, length in enumerate(map(len, content.splitlines(keepends=True)), start=1):
        plan.append(write_planned(Planned(offset, length - 1, number, number)))
        offset += length
    shard = a_shard(BATCH, lines=lines)
    keep(blobs, shard.plan, b"".join(plan))
    keep(blobs, "files/file-1", content)
    store.files.add(a_file())
    store.batches.create(a_batch())
    admit(store, BATCH, shard, epoch=a_worker(store, "clerk", lease_s=1e9))

    dead = a_worker(store, lease_s=1e9)
    assert [part.lines for part in claim(store, dead, lines)] == [lines]
    log, writer = BatchLog(BATCH, LogEnds()), LogWriter(store, blobs, dead)
    for number in range(1, DONE + 1):
        log.add(number, Fate.ANSWERED, b"{}\n")
    writer.commit([log.hand_over()], now=NOW, lease_s=1e9)
    writer.close()
    store.work.bury(dead)


def claim(store: Store, epoch: int, lines: int) -> list[Range]:
    return store.work.claim(epoch, [Want(batch_id=BATCH, shard=0, lines=lines)], now=NOW, lease_s=1e9)


async def claimed_until_a_line_is_sent(context: Context, monkeypatch) -> list[int]:
    """How many lines each claim of a fresh worker brought, up to the first line that it sent."""
    claimed: list[int] = []
    really = context.store.work.claim

    def counted(*args, **kwargs) -> list[Range]:
        found = really(*args, **kwargs)
        claimed.append(sum(part.lines for part in found))
        return found

    monkeypatch.setattr(context.store.work, "claim", counted)
    dispatcher = Dispatcher(context.settings, on_news=lambda _: None, may_be_served=lambda _: True)
    claims = Claims(
        context,
        a_worker(context.store, lease_s=1e9),
        dispatcher,
        may_send=lambda _: True,
        on_change=lambda _: None,
        unsafe=list,
    )
    dispatcher.adopt("it", known_windows={})
    stocking = asyncio.create_task(claims.keep_stocked())
    try:
        await claims.look()
        async with asyncio.timeout(WAIT_S_MAX):
            while not dispatcher.in_flight:
                assert not stocking.done(), stocking.exception()
                await asyncio.sleep(0)
    finally:
        stocking.cancel()
        dispatcher.stop()
        await dispatcher.close()
    return claimed


def test_twenty_thousand_lines_that_a_dead_worker_had_done_are_passed_over_in_few_claims(
    tmp_path, clock, monkeypatch
):
    """Each claim used to be as long as the first, some thirty lines: over six hundred of them."""
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes connections, and answers nothing
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        settings = Settings(data=str(tmp_path), upstreams={"it": Upstream(url=url, models=("m",))})
        context = replace(open_context(settings), clock=clock)
        try:
            a_shard_half_done(context)
            claimed = asyncio.run(claimed_until_a_line_is_sent(context, monkeypatch))
        finally:
            close_context(context)
    assert DONE < sum(claimed) <= DONE + LEFT
    assert len(claimed) <= 15

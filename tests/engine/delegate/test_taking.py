"""An upstream is driven by whoever took it, whatever fails in between."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path

from bulkrate.config import Settings, Timing
from bulkrate.engine.bell import Waiter
from bulkrate.engine.context import close_context, open_context
from bulkrate.engine.delegate.worker import Delegate
from bulkrate.engine.roles import DELEGATE
from bulkrate.engine.upstreams import known_upstreams
from tests.engine.delegate.conftest import WAIT_S_MAX, Provider, delegated


def rename(data: Path, table: str, to: str) -> None:
    with sqlite3.connect(data / "bulkrate.db") as database:
        database.execute(f"ALTER TABLE {table} RENAME TO {to}")
    database.close()


async def test_an_upstream_is_driven_though_its_records_could_not_be_read_when_it_was_taken(
    data: Path, openai: Provider
) -> None:
    """It was once left alone until the process ended: held, and so free for nobody."""
    settings = Settings(
        data=str(data), upstreams={"provider": delegated(openai)}, timing=Timing(poll_s=0.02), workers=1
    )
    context = open_context(settings)
    epoch = context.store.work.enlist(DELEGATE, now=time.time(), lease_s=WAIT_S_MAX)
    rename(data, "lessons", "away")
    delegate = Delegate(context, epoch)
    running = asyncio.create_task(delegate.run(Waiter(context.bells.senders[-1])))
    try:
        async with asyncio.timeout(WAIT_S_MAX):
            while DELEGATE not in context.board.read():
                await asyncio.sleep(0.01)
            assert context.store.upstreams.holders() == {"provider": epoch}
            rename(data, "away", "lessons")
            while not all(upstream.told for upstream in known_upstreams(context)):
                await asyncio.sleep(0.01)
    finally:
        delegate.stop()
        await running
        close_context(context)

"""Which upstreams a worker drives: its share of them, each by a lease that no other living worker has.

The upstreams of a worker that died are free at once. The others leave it some seconds to come back before
they take them: to hand an upstream back, all that is in flight there must land.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from bulkrate.core.shares import upstreams_of
from bulkrate.dispatch import Dispatcher, Driver
from bulkrate.engine.context import Context
from bulkrate.engine.roles import sender_roles
from bulkrate.telemetry import log_event

_PATIENCE_S = 3.0
# How often windows that proved good are written down, so that a restart begins there.
_RECORD_S = 30.0


class Tenure:
    """The leases of one worker; `number` says which of the senders it is."""

    def __init__(self, context: Context, epoch: int, number: int, dispatcher: Dispatcher) -> None:
        self._context = context
        self._epoch = epoch
        self._number = number
        self._dispatcher = dispatcher
        self._names = context.settings.online
        self._roles = sender_roles(context.settings)
        self._free_since: dict[str, float] = {}
        self._recorded: dict[str, Mapping[str, int]] = {}
        self._recorded_at = 0.0
        self._loop = asyncio.get_running_loop()

    async def look(self) -> list[Driver]:
        """Take and let go of upstreams as it is our turn; those that were let go. Raises `Fenced`."""
        store = self._context.store
        holders = await self._context.ask(store.upstreams.holders)
        living = await self._context.ask(store.work.living, self._roles)
        due = upstreams_of(self._number, upstreams=len(self._names), workers=len(self._roles), living=living)
        surplus = self._let_go(len(self._dispatcher.drivers) - due)
        await self._dismiss_landed()
        await self._take(holders, due)
        await self._record()
        return surplus

    async def record_all(self) -> None:
        """Write down which windows proved good, before the end."""
        self._recorded_at = float("-inf")
        await self._record()

    def _let_go(self, surplus: int) -> list[Driver]:
        drivers = sorted(self._dispatcher.drivers, key=lambda driver: driver.in_flight)[: max(0, surplus)]
        for driver in drivers:
            log_event(logging.INFO, "upstream_let_go", upstream=driver.name)
            self._dispatcher.let_go(driver)
        return drivers

    async def _dismiss_landed(self) -> None:
        for driver in [driver for driver in self._dispatcher.leaving if driver.in_flight == 0]:
            await self._context.ask(self._context.store.upstreams.release, self._epoch, driver.name)
            await self._dispatcher.dismiss(driver)
            self._context.bells.ring_senders()

    async def _take(self, holders: Mapping[str, int], due: int) -> None:
        now = self._loop.time()
        free = [name for name in self._names if name not in holders]
        self._free_since = {name: self._free_since.get(name, now) for name in free}
        have = len(self._dispatcher.drivers)
        ours = upstreams_of(
            self._number,
            upstreams=len(self._names),
            workers=len(self._roles),
            living=len(self._roles),
        )
        most = ours - have
        if most <= 0:
            free = [name for name in free if now - self._free_since[name] >= _PATIENCE_S]
            most = due - have
        if not free or most <= 0:
            return
        store = self._context.store.upstreams
        # Asked first: once an upstream is taken, nothing may keep it from being driven.
        windows = await self._context.ask(store.windows)
        for name in await self._context.ask(store.take, self._epoch, free, most=most):
            log_event(logging.INFO, "upstream_taken", upstream=name)
            self._dispatcher.adopt(name, known_windows=windows.get(name, {}))

    async def _record(self) -> None:
        now = self._loop.time()
        if now - self._recorded_at < _RECORD_S:
            return
        self._recorded_at = now
        for driver in self._dispatcher.drivers:
            good = dict(driver.known_good)
            if good and good != self._recorded.get(driver.name):
                record = self._context.store.upstreams.record_windows
                await self._context.ask(record, driver.name, good, now=self._context.clock())
                self._recorded[driver.name] = good

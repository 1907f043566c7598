"""How a worker gets its lines: which shards it could send, and how many lines of each it claims.

It claims about a second's worth, and the next when half of that is left: so the end of a batch is shared by
speed, and sending does not wait for a claim.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import count

from bulkrate.blobs import Reader
from bulkrate.core.health import State
from bulkrate.core.models import is_served
from bulkrate.core.shares import portions
from bulkrate.dispatch import Dispatcher, Driver, Lane
from bulkrate.engine.context import Context
from bulkrate.engine.log import BatchLog, FinishedLines
from bulkrate.engine.loops.load import ShardLoad
from bulkrate.engine.loops.shards import ActiveBatch, ActiveShard
from bulkrate.engine.points import reach
from bulkrate.engine.routes import Routes
from bulkrate.engine.upstreams import KnownUpstream, known_upstreams
from bulkrate.errors import BlobError
from bulkrate.store.records import BatchCommit, LogEnds, Offer, Range, Want
from bulkrate.telemetry import log_event

# Shards driven at once. More wait in the store; each takes about 20 kB here.
_SHARDS_MAX = 4_096
# The pause between two claims: while slots are empty for want of lines, and otherwise.
_CLAIM_S_MIN = 0.01
_CLAIM_S = 0.25
# A claim of lines that are all done already is followed by one of twice as many, so often.
_DOUBLINGS_MAX = 10
# An upstream that is out keeps the lines that fell with it for so long. Then others may have them.
_OUT_S_MAX = 10.0


class Claims:
    """The batches that a worker has lines of, and how it gets more.

    `may_send` says of a deadline whether a line can still be answered before it, `unsafe` what is gathered
    and does not count yet; `on_change` is told of outcomes.
    """

    def __init__(
        self,
        context: Context,
        epoch: int,
        dispatcher: Dispatcher,
        *,
        may_send: Callable[[int], bool],
        on_change: Callable[[bool], None],
        unsafe: Callable[[], Sequence[BatchCommit]],
    ) -> None:
        self.batches: dict[str, ActiveBatch] = {}
        self._context = context
        self._epoch = epoch
        self._dispatcher = dispatcher
        self._may_send = may_send
        self._on_change = on_change
        self._unsafe = unsafe
        self._unsure = False
        self._known: list[KnownUpstream] = []
        self._routes = Routes(context.settings, clock=context.clock)
        self._out_since: dict[str, float] = {}
        self._unreadable: set[tuple[str, int]] = set()
        self._low = asyncio.Event()
        self._claimed_at = float("-inf")
        self._turns = count(1)
        self._loop = asyncio.get_running_loop()
        self._pause = self._loop.call_soon(self.wake)

    def shards(self) -> Iterator[ActiveShard]:
        """All of them."""
        for batch in self.batches.values():
            yield from batch.shards.values()

    def may_be_served(self, model: str) -> bool:
        """Whether some upstream may serve a model, here or at another worker. What ours say counts now."""
        here = self._dispatcher.catalogues()
        elsewhere = [upstream.catalogue for upstream in self._known if upstream.name not in here]
        return is_served([*here.values(), *elsewhere], model)

    def wake(self) -> None:
        """There may be something to claim."""
        self._low.set()

    # --- which shards ---

    async def look_around(self) -> None:
        """Look what the other workers' upstreams do, and leave to them what they can do better."""
        self._known = await self._context.ask(known_upstreams, self._context)
        self._routes.update(self._known)
        self._give_up_what_others_can_do()

    async def look(self) -> None:
        """Look which shards have lines for us, and begin those that are new. Raises `StoreError`."""
        store = self._context.store
        room = _SHARDS_MAX - sum(len(batch.shards) for batch in self.batches.values())
        offers = await self._context.ask(
            store.work.offers, serves=self._wanted(), wants=self._routes.is_online, limit=_SHARDS_MAX
        )
        for offer in offers:
            shard = offer.shard
            batch = self.batches.get(shard.batch_id)
            active = batch.shards.get(shard.shard) if batch is not None else None
            if active is not None:
                active.load.more = True
            elif room > 0 and self._may_send(offer.expires_at):
                room -= 1
                await self._begin(offer)
        self.wake()

    def _wanted(self) -> Callable[[str], bool]:
        """Whether this worker sends the lines of a model: one of its upstreams could, or none anywhere can.

        Asked in another thread, and so of what is known now.
        """
        able = [
            driver.catalogue for driver in self._dispatcher.drivers if driver.health.state is not State.OUT
        ]
        here = list(self._dispatcher.catalogues().values())
        elsewhere = [upstream.catalogue for upstream in self._known]

        def wanted(model: str) -> bool:
            if any(catalogue.name_for(model) is not None for catalogue in able):
                return True
            return not is_served(here, model) and not is_served(elsewhere, model)

        return wanted

    async def _begin(self, offer: Offer) -> None:
        shard = offer.shard
        was_open = shard.batch_id in self.batches
        try:
            plan, source, ends = await self._context.ask(self._open, offer)
        except BlobError as error:
            self._say_unreadable(shard.batch_id, shard.shard, error)
            return
        batch = self.batches.get(shard.batch_id)
        if batch is None and was_open:
            # Its log was closed meanwhile, perhaps after we looked how far it counts. The next look knows.
            plan.close()
            source.close()
            return
        if batch is None:
            log, finished = BatchLog(shard.batch_id, ends), FinishedLines(self._context.blobs)
            batch = self.batches[shard.batch_id] = ActiveBatch(log, finished, self._loop.time())
        load = ShardLoad(
            offer,
            plan=plan,
            source=source,
            log=batch.log,
            may_send=self._may_send,
            on_low=self.wake,
            on_change=self._on_change,
        )
        active = ActiveShard(load, Lane(load), measured_at=self._loop.time())
        batch.shards[shard.shard] = active
        self._dispatcher.enter(active.lane)

    def _open(self, offer: Offer) -> tuple[Reader, Reader, LogEnds]:
        """The plan, the input, and how far our logs of the batch count: for whoever drives none of it yet."""
        ends = self._context.store.work.log_ends(self._epoch, offer.shard.batch_id)
        plan = self._context.blobs.open(offer.shard.plan)
        try:
            return plan, self._context.blobs.open(offer.input_blob or "gone"), ends
        except BlobError:
            plan.close()
            raise

    def _say_unreadable(self, batch_id: str, shard: int, error: BlobError) -> None:
        if (batch_id, shard) not in self._unreadable:
            self._unreadable.add((batch_id, shard))
            log_event(logging.ERROR, "shard_unreadable", batch=batch_id, shard=shard, reason=str(error))

    # --- how many lines ---

    async def keep_stocked(self) -> None:
        """Claim whenever lines run low. Never returns; raises `Fenced`, `StoreError`, `BlobError`."""
        while True:
            await self._low.wait()
            self._low.clear()
            wants, starving = self._plan()
            if not wants:
                continue
            due = self._claimed_at + (_CLAIM_S_MIN if starving else _CLAIM_S)
            if due <= self._loop.time():
                await self._claim(wants)
                continue
            for active, _ in wants:
                active.load.warn_at(0)  # whoever runs dry before that does not wait so long
            self._pause.cancel()
            self._pause = self._loop.call_at(due, self.wake)

    def _plan(self) -> tuple[list[tuple[ActiveShard, int]], bool]:
        """How many lines to claim of which shard, and whether slots are empty for want of them."""
        pools: dict[tuple[str, ...], list[ActiveShard]] = {}
        serving: dict[str, tuple[str, ...]] = {}
        for active in self.shards():
            if active.hungry:
                model = active.load.model
                if model not in serving:
                    serving[model] = tuple(driver.name for driver in self._dispatcher.serving(model))
                pools.setdefault(serving[model], []).append(active)
        drivers = {driver.name: driver for driver in self._dispatcher.drivers}
        now = self._loop.time()
        wants: list[tuple[ActiveShard, int]] = []
        starving = False
        for names, loads in pools.items():
            able = [drivers[name] for name in names if drivers[name].health.state is not State.OUT]
            if names and not able:
                continue
            loads.sort(key=lambda active: active.turn)
            stocks = [active.stock(now) for active in loads]
            room = sum(driver.room for driver in able)
            claims = portions(stocks, room=room)
            wants += [
                (active, lines << min(active.barren, _DOUBLINGS_MAX))
                for active, lines in zip(loads, claims, strict=True)
                if lines
            ]
            # Its slots go to others meanwhile, and come back only as their answers do.
            starving |= any(active.is_dry(now, within_s=_CLAIM_S) for active in loads)
            for active, stock in zip(loads, stocks, strict=True):
                if not stock.low:  # slower than it was when it was warned for: it runs low later
                    active.load.warn_at(stock.low_mark)
            starving |= room > sum(stock.lines for stock in stocks) or not any(s.lines for s in stocks)
        return wants, starving

    async def _claim(self, wants: list[tuple[ActiveShard, int]]) -> None:
        for active, _ in wants:
            active.claiming = True
        try:
            await self._make_sure()
            self._unsure = True
            claimed = await self._context.ask(
                self._context.store.work.claim,
                self._epoch,
                [Want(batch_id=a.load.batch_id, shard=a.load.shard, lines=lines) for a, lines in wants],
                now=self._context.clock(),
                lease_s=self._context.settings.timing.lease_s,
            )
            self._unsure = False
            self._claimed_at = self._loop.time()
            if claimed:
                reach("send.claimed")
            fed: dict[ActiveShard, int] = {}
            for one in claimed:
                active = self.batches[one.batch_id].shards[one.shard]
                fed[active] = fed.get(active, 0) + one.lines
                await self._feed(active, one)
                active.fed_at = self._claimed_at
            for active, lines in wants:
                active.load.more = fed.get(active, 0) >= lines
                active.turn = next(self._turns)
        finally:
            for active, _ in wants:
                active.claiming = False
                active.load.warn_at(active.stock(self._loop.time()).low_mark)
                active.lane.refill()
        for active, _ in wants:
            if active.lane.empty:
                self._on_change(True)
                if active in fed:  # the dead had done all of these: go on at once, and take more
                    active.barren += 1
                    self.wake()
            else:
                active.barren = 0
                self._dispatcher.offer(active.lane)

    async def _make_sure(self) -> None:
        """After a claim that failed: if it took lines all the same, let go of them."""
        if not self._unsure:
            return
        known = {
            (active.load.batch_id, active.load.shard, part.start)
            for active in self.shards()
            for part in active.load.parts
        }
        for commit in self._unsafe():
            known |= {(commit.batch_id, news.shard, news.start) for news in commit.ranges}
        await self._context.ask(self._context.store.work.release_unknown, self._epoch, known)

    async def _feed(self, active: ActiveShard, claimed: Range) -> None:
        load = active.load
        part = load.hold(claimed)
        if claimed.fresh:
            load.feed(part)
            return
        batch = self.batches[load.batch_id]
        try:
            extents = await self._context.ask(self._context.store.work.extents, load.batch_id)
            finished = await self._context.ask(batch.finished.catch_up, extents)
            if claimed.suspect:
                self._dispatcher.suspect(active.lane, load.works_left(part, finished))
            else:
                load.feed_rest(part, finished)
        except BlobError as error:
            self._say_unreadable(load.batch_id, load.shard, error)
            self.let_go(active)

    # --- letting go ---

    def let_go(self, active: ActiveShard) -> None:
        """Send nothing more of a shard; what has landed by then counts, the rest is free for others."""
        if active.closing_since is None:
            active.closing_since = self._loop.time()
            self._dispatcher.leave(active.lane)
            self._on_change(True)

    def let_go_of(self, driver: Driver) -> None:
        """Let go of all that an upstream may have lines of: some may wait there to be tried again."""
        for active in self.shards():
            if driver.catalogue.name_for(active.load.model) is not None:
                self.let_go(active)

    def _give_up_what_others_can_do(self) -> None:
        """Let go of the lines that wait here for an upstream that is out or not ours any more, if another
        worker's could take them.
        """
        now = self._loop.time()
        out = {d.name for d in self._dispatcher.drivers if d.health.state is State.OUT}
        self._out_since = {name: self._out_since.get(name, now) for name in out}
        here = self._dispatcher.catalogues()
        others = [
            u.catalogue
            for u in self._known
            if u.name not in here and u.told and u.paused is None and not u.delegated
        ]
        for active in self.shards():
            serving = self._dispatcher.serving(active.load.model)
            if any(driver.name not in out for driver in serving):
                continue
            if not serving and is_served(here.values(), active.load.model):
                continue  # one of ours has not said yet what it serves
            elsewhere = any(catalogue.name_for(active.load.model) is not None for catalogue in others)
            long = all(now - self._out_since[driver.name] > _OUT_S_MAX for driver in serving)
            undisturbed = active.lane.in_flight == 0 and active.lane.waits_for is None
            if elsewhere and (undisturbed or long):
                active.fell = not undisturbed
                self.let_go(active)

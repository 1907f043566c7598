"""Workers that claim, commit, repeat themselves, let go and die in any order."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from bulkrate.errors import Fenced
from bulkrate.store import Store
from bulkrate.store.extents import GROWS_S
from bulkrate.store.records import BatchCommit, Extent, Range, RangeNews
from tests.store.records import NOW, a_worker, running
from tests.store.working import all_of, ends, want

SHARDS = 2
LINES = 10
Line = tuple[int, int]


class Interleavings(RuleBasedStateMachine):
    """Workers come, claim, commit, repeat themselves, let go and die in any order, as time goes by.

    Each keeps a log of lines as the real ones do, and reads what counts of all logs when a range may hold
    finished lines. What counts is compared with what was committed.
    """

    workers = Bundle("workers")

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = Store(Path(self.folder.name) / "bulkrate.db")
        running(self.store, shards=SHARDS)
        self.now = float(NOW)
        self.alive: set[int] = set()
        self.logs: dict[int, list[Line]] = {}
        self.to_do: dict[int, dict[Line, Range]] = {}
        self.held: dict[int, set[Range]] = {}
        self.last: dict[int, BatchCommit] = {}
        self.counted: set[Line] = set()
        self.seen: list[Line] = []

    def teardown(self):
        self.everything_is_done_in_the_end()
        self.every_line_counts_once()
        self.store.close()
        self.folder.cleanup()

    @rule(target=workers)
    def enlist(self):
        epoch = a_worker(self.store, now=self.now, lease_s=1e9)
        assert epoch not in self.logs
        self.alive.add(epoch)
        self.logs[epoch] = []
        self.to_do[epoch] = {}
        self.held[epoch] = set()
        return epoch

    @rule(worker=consumes(workers))
    def is_buried(self, worker):
        self.store.work.bury(worker)
        self.alive.discard(worker)
        held = all_of(sorted(self.held.pop(worker), key=repr))
        late = self.gather(worker, [(99, 99)], held)
        with pytest.raises(Fenced):
            self.store.work.commit(worker, [late], now=self.now, lease_s=1e9)
        self.logs[worker].pop()

    @rule(worker=workers, shard=st.integers(0, SHARDS - 1), lines=st.integers(1, LINES))
    def claims(self, worker, shard, lines):
        for got in self.store.work.claim(worker, [want(lines, shard)], now=self.now, lease_s=1e9):
            finished = set() if got.fresh else set(self.read(self.store.work.extents("batch_1")))
            assert not any(got in held for held in self.held.values())
            self.held[worker].add(got)
            for place in range(got.start, got.start + got.lines):
                if (shard, place) not in finished:
                    self.to_do[worker][shard, place] = got

    @rule(worker=workers, count=st.integers(0, LINES), ahead=st.booleans(), lets_go=st.booleans())
    def commits(self, worker, count, ahead, lets_go):
        to_do = self.to_do[worker]
        lines = sorted(to_do, reverse=ahead)[:count]
        for line in lines:
            del to_do[line]
        news = []
        for one in sorted(self.held[worker], key=repr):
            done = one not in to_do.values()
            released = lets_go and not done
            if done or released:
                self.held[worker].discard(one)
            news.append(RangeNews(shard=one.shard, start=one.start, done=done, released=released))
        if lets_go:
            to_do.clear()
        made = self.gather(worker, lines, tuple(news))
        self.store.work.commit(worker, [made], now=self.now, lease_s=1e9)
        self.last[worker] = made
        assert not self.counted & set(lines)
        self.counted |= set(lines)

    @rule(worker=workers)
    def repeats_its_last_commit(self, worker):
        made = self.last.get(worker)
        if made is not None and made.since != made.until:
            unended = tuple(news for news in made.ranges if not news.released)
            made = replace(made, ranges=unended)
            self.store.work.commit(worker, [made], now=self.now, lease_s=1e9)

    @rule(thief=workers, owner=workers)
    def commits_what_another_holds(self, thief, owner):
        if thief == owner or not self.held[owner]:
            return
        stolen = self.gather(thief, [(99, 99)], all_of(sorted(self.held[owner], key=repr)))
        with pytest.raises(Fenced):
            self.store.work.commit(thief, [stolen], now=self.now, lease_s=1e9)
        self.logs[thief].pop()

    @rule(seconds=st.sampled_from([0.1, GROWS_S / 2, GROWS_S + 1]), sweeps=st.booleans())
    def time_goes_by(self, seconds, sweeps):
        self.now += seconds
        if sweeps:
            self.store.work.close_old_extents(now=self.now)

    def gather(self, worker: int, lines: list[Line], ranges: tuple[RangeNews, ...]) -> BatchCommit:
        """Write lines to a worker's log, whose every record has 5 bytes in the output, 20 in the ledger."""
        since = len(self.logs[worker])
        self.logs[worker] += lines
        until = len(self.logs[worker])
        return BatchCommit(
            batch_id="batch_1",
            since=ends(output=since * 5, ledger=since * 20),
            until=ends(output=until * 5, ledger=until * 20),
            completed=len(lines),
            ranges=ranges,
        )

    def read(self, found: list[Extent]) -> list[Line]:
        """The lines that stand in the committed logs, in the order of the stream."""
        return [
            self.logs[extent.epoch][place // 5]
            for extent in found
            for place in range(extent.output_start, extent.output_end, 5)
        ]

    @invariant()
    def every_line_counts_once(self):
        found = self.store.work.extents("batch_1")
        lines = self.read(found)
        assert len(lines) == len(set(lines))
        assert set(lines) == self.counted
        assert self.store.batches.by_id("batch_1").completed == len(self.counted)
        assert [extent.number for extent in found] == list(range(len(found)))

    @invariant()
    def what_was_seen_of_the_stream_is_there_for_good(self):
        visible = self.read(self.store.work.settled_extents("batch_1"))
        assert visible[: len(self.seen)] == self.seen
        self.seen = visible

    @invariant()
    def no_line_is_lost(self):
        done = len(self.counted) == SHARDS * LINES
        ranges_are_open = any(self.held[worker] for worker in self.alive)
        assert done or self.alive_or_offered() or ranges_are_open
        assert not (self.store.batches.sent() and not done)

    def alive_or_offered(self) -> bool:
        return bool(self.store.work.offers(serves=lambda model: True, limit=1))

    def everything_is_done_in_the_end(self):
        """Whoever lives lets go, and one last worker does what is left: each line exactly once."""
        for worker in sorted(self.alive):
            self.commits(worker=worker, count=0, ahead=False, lets_go=True)
        last = self.enlist()
        for shard in range(SHARDS):
            self.claims(worker=last, shard=shard, lines=LINES)
        self.commits(worker=last, count=SHARDS * LINES, ahead=False, lets_go=False)
        assert len(self.counted) == SHARDS * LINES
        assert [batch.id for batch in self.store.batches.sent()] == ["batch_1"]


Interleavings.TestCase.settings = settings(max_examples=30, stateful_step_count=30)
test_whatever_workers_do_at_once_every_line_counts_once_and_none_is_lost = Interleavings.TestCase

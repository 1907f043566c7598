"""Leases, shards and commits: what a worker holds, what counts, and that nothing that counts ever changes."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from bulkrate.core.lifecycle import Event
from bulkrate.errors import Fenced, StoreError
from bulkrate.providers.usage import Usage
from bulkrate.store import Store
from bulkrate.store.records import BatchCommit, LogEnds, ShardNews
from tests.store.records import NOW, a_batch, a_file, a_shard, a_worker, running

LEASE_S = 15.0


def claim(store, epoch: int, *, limit: int = 100, now: float = NOW) -> list[tuple[str, int]]:
    claimed = store.work.claim(epoch, limit=limit, now=now, lease_s=LEASE_S)
    return [(one.shard.batch_id, one.shard.shard) for one in claimed]


def ends(output: int = 0, errors: int = 0, ledger: int = 0) -> LogEnds:
    return LogEnds(output=output, errors=errors, ledger=ledger)


def commit(store, epoch: int, since: LogEnds, until: LogEnds, *shards: ShardNews, **counts) -> None:
    made = BatchCommit(batch_id="batch_1", since=since, until=until, shards=shards, **counts)
    store.work.commit(epoch, [made], now=NOW, lease_s=LEASE_S)


def counted(store) -> tuple[int, int]:
    batch = store.batches.by_id("batch_1")
    return batch.completed, batch.failed


# --- epochs ---


def test_an_epoch_is_never_given_twice_though_all_are_dead(store):
    first = a_worker(store)
    store.work.bury_all()
    assert a_worker(store) > first


@pytest.mark.parametrize("act", ["renew", "claim", "commit", "take_over"])
def test_the_dead_do_not_come_back(store, act):
    running(store)
    sender = a_worker(store)
    store.work.bury(sender)
    acts = {
        "renew": lambda: store.work.renew(sender, now=NOW, lease_s=LEASE_S),
        "claim": lambda: claim(store, sender),
        "commit": lambda: commit(store, sender, ends(), ends(output=5, ledger=20), completed=1),
        "take_over": lambda: store.work.take_over(sender, "batch_1", now=NOW, lease_s=LEASE_S),
    }
    with pytest.raises(Fenced, match=f"epoch {sender}"):
        acts[act]()
    assert counted(store) == (0, 0)
    assert store.work.extents("batch_1") == []


@pytest.mark.parametrize(("later", "dead"), [(15.0, False), (15.1, True)])
def test_a_lease_lapses_when_its_time_is_over(store, later, dead):
    sender = a_worker(store, now=NOW, lease_s=15.0)
    assert store.work.bury_lapsed(now=NOW + later) == ([sender] if dead else [])


@pytest.mark.parametrize("act", ["renew", "claim", "commit", "take_over"])
def test_whatever_a_worker_does_prolongs_its_lease(store, act):
    running(store)
    sender = a_worker(store, now=NOW, lease_s=15.0)
    later = {"now": NOW + 10, "lease_s": 15.0}
    if act == "renew":
        store.work.renew(sender, **later)
    elif act == "claim":
        store.work.claim(sender, limit=1, **later)
    elif act == "commit":
        store.work.commit(sender, [], **later)
    else:
        store.work.take_over(sender, "batch_1", **later)
    assert store.work.bury_lapsed(now=NOW + 25) == []
    assert store.work.bury_lapsed(now=NOW + 25.1) == [sender]


def test_a_role_is_buried_alone(store):
    sender, clerk = a_worker(store, "sender"), a_worker(store, "clerk")
    assert store.work.bury_role("sender") == [sender]
    assert store.work.bury_role("sender") == []
    store.work.renew(clerk, now=NOW, lease_s=LEASE_S)


# --- claiming ---


def test_a_claimed_shard_comes_with_what_a_worker_must_know(store):
    store.files.add(a_file())
    running(store)
    (claimed,) = store.work.claim(a_worker(store), limit=1, now=NOW, lease_s=LEASE_S)
    assert claimed.shard == a_shard("batch_1")
    assert (claimed.endpoint, claimed.input_blob) == ("/v1/chat/completions", "files/file-1")
    assert claimed.expires_at == store.batches.by_id("batch_1").expires_at


def test_a_shard_whose_input_was_forgotten_is_claimed_without_one(store):
    running(store)
    (claimed,) = store.work.claim(a_worker(store), limit=1, now=NOW, lease_s=LEASE_S)
    assert claimed.input_blob is None


def test_shards_are_claimed_oldest_batch_first_and_up_to_a_limit(store):
    running(store, "1", shards=2)
    running(store, "2", shards=2)
    sender = a_worker(store)
    assert claim(store, sender, limit=3) == [("batch_1", 0), ("batch_1", 1), ("batch_2", 0)]
    assert claim(store, sender, limit=3) == [("batch_2", 1)]
    assert claim(store, sender, limit=3) == []


def test_of_many_workers_at_once_each_shard_has_one(store):
    running(store, shards=20)
    workers = [a_worker(store) for _ in range(8)]

    def claim_all(epoch: int) -> list[tuple[str, int]]:
        found = []
        while some := claim(store, epoch, limit=2):
            found += some
        return found

    with ThreadPoolExecutor(8) as threads:
        claimed = [shard for found in threads.map(claim_all, workers) for shard in found]
    assert sorted(claimed) == [("batch_1", shard) for shard in range(20)]


@pytest.mark.parametrize("event", [Event.CANCEL_ASKED, Event.DEADLINE_PASSED])
def test_nothing_is_claimed_of_a_batch_that_is_not_in_progress(store, event):
    store.batches.create(a_batch("2"))
    running(store)
    store.batches.move("batch_1", event, now=NOW)
    assert claim(store, a_worker(store)) == []


def test_burying_a_worker_frees_its_shards_and_no_others(store):
    running(store, shards=3)
    one, other = a_worker(store), a_worker(store)
    assert claim(store, one, limit=2) == [("batch_1", 0), ("batch_1", 1)]
    assert claim(store, other) == [("batch_1", 2)]
    store.work.bury(one)
    assert claim(store, a_worker(store)) == [("batch_1", 0), ("batch_1", 1)]


def test_a_released_shard_is_free_and_a_done_one_is_not(store):
    running(store, shards=2)
    sender = a_worker(store)
    claim(store, sender)
    done = ShardNews(shard=0, done=True, released=True)
    commit(store, sender, ends(), ends(), done, ShardNews(shard=1, released=True))
    assert claim(store, sender) == [("batch_1", 1)]
    store.work.release(sender, "batch_1", 1)
    store.work.bury(sender)
    assert claim(store, a_worker(store)) == [("batch_1", 1)]


def test_only_its_holder_releases_a_shard_or_tells_of_it(store):
    running(store)
    one, other = a_worker(store), a_worker(store)
    claim(store, one)
    store.work.release(other, "batch_1", 0)
    commit(store, other, ends(), ends(), ShardNews(shard=0, done=True, released=True))
    assert claim(store, other) == []
    assert store.batches.sent() == []


def test_the_last_account_takes_the_unfinished_shards_whoever_had_them(store):
    running(store, shards=3)
    sender, clerk = a_worker(store), a_worker(store, "clerk")
    claim(store, sender, limit=2)
    commit(store, sender, ends(), ends(), ShardNews(shard=0, done=True, released=True))
    store.batches.move("batch_1", Event.CANCEL_ASKED, now=NOW)
    taken = store.work.take_over(clerk, "batch_1", now=NOW, lease_s=LEASE_S)
    assert [shard.shard for shard in taken] == [1, 2]
    commit(store, sender, ends(), ends(), ShardNews(shard=1, done=True, released=True))
    assert [s.shard for s in store.work.take_over(clerk, "batch_1", now=NOW, lease_s=LEASE_S)] == [1, 2]


# --- committing ---


def test_a_commit_counts_lines_and_tokens(store):
    running(store)
    sender = a_worker(store)
    commit(store, sender, ends(), ends(9, 0, 20), completed=1, usage=Usage(1, 2, 3, 4, 5))
    commit(store, sender, ends(9, 0, 20), ends(9, 7, 40), failed=1)
    commit(store, sender, ends(9, 7, 40), ends(19, 7, 60), completed=1, usage=Usage(10, 20, 30, 40, 50))
    batch = store.batches.by_id("batch_1")
    assert (batch.completed, batch.failed) == (2, 1)
    told = (batch.input_tokens, batch.cached_tokens, batch.output_tokens, batch.reasoning_tokens)
    assert (*told, batch.total_tokens) == (11, 22, 33, 44, 55)
    assert store.work.log_ends(sender, "batch_1") == ends(19, 7, 60)


def test_commits_of_one_worker_lengthen_one_extent_and_another_begins_the_next(store):
    running(store)
    one, other = a_worker(store), a_worker(store)
    for epoch, since, until in (
        (one, ends(), ends(5, 0, 20)),
        (one, ends(5, 0, 20), ends(9, 0, 40)),
        (other, ends(), ends(0, 7, 20)),
        (one, ends(9, 0, 40), ends(9, 3, 60)),
    ):
        commit(store, epoch, since, until)
    stretches = [
        (extent.epoch, extent.output_start, extent.output_end, extent.errors_start, extent.errors_end)
        for extent in store.work.extents("batch_1")
    ]
    assert stretches == [(one, 0, 9, 0, 0), (other, 0, 0, 0, 7), (one, 9, 9, 0, 3)]
    assert store.work.log_ends(one, "batch_1") == ends(9, 3, 60)
    assert store.work.log_ends(other, "batch_1") == ends(0, 7, 20)
    assert store.work.log_ends(one, "batch_2") == ends()


def test_a_commit_whose_answer_was_lost_may_be_made_again(store):
    running(store)
    sender = a_worker(store)
    for _ in range(3):
        commit(store, sender, ends(), ends(5, 0, 20), completed=1)
    assert counted(store) == (1, 0)
    assert len(store.work.extents("batch_1")) == 1


def test_outcomes_that_do_not_follow_the_last_ones_are_refused(store):
    running(store)
    sender = a_worker(store)
    with pytest.raises(StoreError):
        commit(store, sender, ends(5, 0, 20), ends(9, 0, 40), completed=1)
    assert counted(store) == (0, 0)
    assert store.work.extents("batch_1") == []


def test_all_batches_of_a_commit_count_or_none(store):
    running(store, "1")
    running(store, "2")
    sender = a_worker(store)
    good = BatchCommit(batch_id="batch_1", since=ends(), until=ends(5, 0, 20), completed=1)
    bad = BatchCommit(batch_id="batch_2", since=ends(), until=ends(5, 0, 220), completed=11)  # of ten lines
    with pytest.raises(StoreError):
        store.work.commit(sender, [good, bad], now=NOW, lease_s=LEASE_S)
    assert counted(store) == (0, 0)
    assert store.work.extents("batch_1") == []


class Interleavings(RuleBasedStateMachine):
    """Workers come, claim, commit, repeat themselves and die in any order, beside a model of what counts."""

    workers = Bundle("workers")

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = Store(Path(self.folder.name) / "bulkrate.db")
        running(self.store, shards=3)
        self.shards = {0: None, 1: None, 2: None}
        self.alive: set[int] = set()
        self.ends: dict[int, int] = {}
        self.last: dict[int, tuple[LogEnds, LogEnds, int]] = {}
        self.stream: list[tuple[int, int]] = []
        self.completed = 0

    def teardown(self):
        self.store.close()
        self.folder.cleanup()

    @rule(target=workers)
    def enlist(self):
        epoch = a_worker(self.store)
        assert epoch not in self.ends
        self.alive.add(epoch)
        self.ends[epoch] = 0
        return epoch

    @rule(worker=consumes(workers))
    def bury(self, worker):
        self.store.work.bury(worker)
        self.alive.discard(worker)
        self.shards = {shard: holder if holder != worker else None for shard, holder in self.shards.items()}
        with pytest.raises(Fenced):
            commit(self.store, worker, self.at(worker), self.at(worker, 1), completed=1)

    @rule(worker=workers, limit=st.integers(1, 3))
    def claims(self, worker, limit):
        free = [shard for shard, holder in self.shards.items() if holder is None][:limit]
        assert [shard for _, shard in claim(self.store, worker, limit=limit)] == free
        self.shards |= dict.fromkeys(free, worker)

    @rule(worker=workers, lines=st.integers(1, 3))
    def commits(self, worker, lines):
        if self.completed + lines > 30:
            return
        since, until = self.at(worker), self.at(worker, lines)
        commit(self.store, worker, since, until, completed=lines)
        self.last[worker] = since, until, lines
        self.stream += [(worker, self.ends[worker] + number) for number in range(lines)]
        self.ends[worker] += lines
        self.completed += lines

    @rule(worker=workers)
    def repeats_its_last_commit(self, worker):
        if worker in self.last:
            since, until, lines = self.last[worker]
            commit(self.store, worker, since, until, completed=lines)

    @rule(worker=workers, shard=st.integers(0, 2))
    def releases(self, worker, shard):
        self.store.work.release(worker, "batch_1", shard)
        if self.shards[shard] == worker:
            self.shards[shard] = None

    def at(self, worker: int, more: int = 0) -> LogEnds:
        """The ends of a worker's logs, whose every record has 5 bytes in the output and 20 in the ledger."""
        lines = self.ends[worker] + more
        return ends(output=lines * 5, ledger=lines * 20)

    @invariant()
    def the_stream_is_what_was_committed_in_its_order(self):
        # The model is only ever appended to, so what was once read at an offset is there for good.
        extents = self.store.work.extents("batch_1")
        for size, stream in ((5, "output"), (20, "ledger")):
            read = [
                (extent.epoch, place // size)
                for extent in extents
                for place in range(getattr(extent, f"{stream}_start"), getattr(extent, f"{stream}_end"), size)
            ]
            assert read == self.stream
        assert [extent.number for extent in extents] == list(range(len(extents)))

    @invariant()
    def every_line_counts_once(self):
        assert self.store.batches.by_id("batch_1").completed == self.completed
        for worker in self.alive:
            assert self.store.work.log_ends(worker, "batch_1") == self.at(worker)


Interleavings.TestCase.settings = settings(max_examples=10, stateful_step_count=20)
test_whatever_workers_do_at_once_a_stream_only_grows_at_its_end = Interleavings.TestCase

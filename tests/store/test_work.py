"""Leases, ranges and commits: what a worker holds, what counts, and that nothing that counts ever changes."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from bulkrate.core.lifecycle import Event
from bulkrate.errors import Fenced, StoreError
from bulkrate.providers.usage import Usage
from bulkrate.store import Store, claims
from bulkrate.store.extents import GROWS_S
from bulkrate.store.records import BatchCommit, Extent, LogEnds, Range, RangeNews, Want
from tests.store.records import NOW, a_batch, a_file, a_shard, a_worker, admit, running

LEASE_S = 15.0


def want(lines: int = 100, shard: int = 0, batch_id: str = "batch_1") -> Want:
    return Want(batch_id=batch_id, shard=shard, lines=lines)


def claim(store, epoch: int, *wants: Want, now: float = NOW) -> list[Range]:
    return store.work.claim(epoch, wants or [want()], now=now, lease_s=LEASE_S)


def places(claimed: list[Range]) -> list[tuple[int, int, int]]:
    """Shard, start and number of lines of each range."""
    return [(one.shard, one.start, one.lines) for one in claimed]


def all_of(claimed: list[Range], **became: bool) -> tuple[RangeNews, ...]:
    return tuple(RangeNews(shard=one.shard, start=one.start, **became) for one in claimed)


def ends(output: int = 0, errors: int = 0, ledger: int = 0) -> LogEnds:
    return LogEnds(output=output, errors=errors, ledger=ledger)


def commit(
    store, epoch: int, since: LogEnds, until: LogEnds, *ranges: RangeNews, now: float = NOW, **told
) -> None:
    made = BatchCommit(batch_id="batch_1", since=since, until=until, ranges=ranges, **told)
    store.work.commit(epoch, [made], now=now, lease_s=LEASE_S)


def let_go(store, epoch: int, claimed: list[Range]) -> None:
    commit(store, epoch, ends(), ends(), *all_of(claimed, released=True))


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
        store.work.claim(sender, [want()], **later)
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


def test_the_living_of_some_roles_are_counted(store):
    one, _ = a_worker(store, "sender-0"), a_worker(store, "sender-1")
    a_worker(store, "clerk")
    assert store.work.living(["sender-0", "sender-1", "sender-2"]) == 2
    store.work.bury(one)
    assert store.work.living(["sender-0", "sender-1", "sender-2"]) == 1


# --- claiming ---


def offered(store, *models: str, limit: int = 100) -> list[tuple[str, int]]:
    offers = store.work.offers(serves=lambda model: not models or model in models, limit=limit)
    return [(offer.shard.batch_id, offer.shard.shard) for offer in offers]


def test_what_is_not_wanted_crowds_out_nothing(store):
    """Thousands of shards for a provider's batch API once hid a batch that could be answered at once."""
    for number in range(1, 8):
        running(store, str(number))
    wanted = {"batch_3", "batch_6", "batch_7"}

    def offered(limit: int) -> list[str]:
        offers = store.work.offers(
            serves=lambda model: True, wants=lambda offer: offer.shard.batch_id in wanted, limit=limit
        )
        return [offer.shard.batch_id for offer in offers]

    assert [offered(limit) for limit in (1, 2, 3, 100)] == [
        ["batch_3"],
        ["batch_3", "batch_6"],
        ["batch_3", "batch_6", "batch_7"],
        ["batch_3", "batch_6", "batch_7"],
    ]


def test_an_offered_shard_comes_with_what_a_worker_must_know(store):
    store.files.add(a_file())
    running(store)
    (offer,) = store.work.offers(serves=lambda model: True, limit=1)
    assert offer.shard == a_shard("batch_1")
    assert (offer.endpoint, offer.input_blob) == ("/v1/chat/completions", "files/file-1")
    assert offer.expires_at == store.batches.by_id("batch_1").expires_at


def test_a_shard_whose_input_was_forgotten_is_offered_without_one(store):
    running(store)
    (offer,) = store.work.offers(serves=lambda model: True, limit=1)
    assert offer.input_blob is None


def test_shards_are_offered_oldest_batch_first_and_up_to_a_limit(store):
    running(store, "1", shards=2)
    running(store, "2", shards=2)
    assert offered(store, limit=3) == [("batch_1", 0), ("batch_1", 1), ("batch_2", 0)]


def test_only_shards_of_served_models_are_offered(store):
    running(store, "1", model="a")
    running(store, "2", model="b")
    assert offered(store, "b", "c") == [("batch_2", 0)]
    assert offered(store, "c") == []
    assert offered(store, "b", limit=1) == [("batch_2", 0)]


def test_a_shard_is_offered_until_all_its_lines_are_taken(store):
    running(store)
    sender = a_worker(store)
    claim(store, sender, want(9))
    assert offered(store) == [("batch_1", 0)]
    rest = claim(store, sender)
    assert offered(store) == []
    let_go(store, sender, rest)
    assert offered(store) == [("batch_1", 0)]


def test_lines_are_claimed_from_the_front_as_many_as_wanted(store):
    running(store, shards=2)
    one, other = a_worker(store), a_worker(store)
    assert places(claim(store, one, want(4), want(3, shard=1))) == [(0, 0, 4), (1, 0, 3)]
    assert places(claim(store, other, want(4))) == [(0, 4, 4)]
    assert places(claim(store, one, want(4))) == [(0, 8, 2)]
    assert claim(store, other) == []


def test_more_shards_can_be_asked_for_than_one_statement_takes(store, monkeypatch):
    monkeypatch.setattr(claims, "_ASKED_AT_ONCE", 2)
    running(store, shards=5)
    claimed = claim(store, a_worker(store), *(want(1, shard=shard) for shard in range(5)))
    assert places(claimed) == [(shard, 0, 1) for shard in range(5)]


def test_of_many_workers_at_once_each_line_has_one(store):
    running(store, shards=20)
    epochs = [a_worker(store) for _ in range(8)]

    def claim_all(epoch: int) -> list[tuple[int, int]]:
        found = []
        while some := claim(store, epoch, *(want(3, shard=shard) for shard in range(20))):
            found += [(one.shard, one.start + place) for one in some for place in range(one.lines)]
        return found

    with ThreadPoolExecutor(8) as threads:
        claimed = [line for found in threads.map(claim_all, epochs) for line in found]
    assert sorted(claimed) == [(shard, place) for shard in range(20) for place in range(10)]


@pytest.mark.parametrize("event", [Event.CANCEL_ASKED, Event.DEADLINE_PASSED])
def test_nothing_is_claimed_of_a_batch_that_is_not_in_progress(store, event):
    store.batches.create(a_batch("2"))
    running(store)
    store.batches.move("batch_1", event, now=NOW)
    assert offered(store) == []
    assert claim(store, a_worker(store), want(), want(batch_id="batch_2")) == []


def test_burying_a_worker_frees_its_lines_and_no_others(store):
    running(store)
    one, other = a_worker(store), a_worker(store)
    claim(store, one, want(3))
    claim(store, other, want(7))
    store.work.bury(one)
    (again,) = claim(store, a_worker(store))
    assert (again.start, again.lines, again.fresh) == (0, 3, False)


def test_what_others_left_is_claimed_first_and_may_be_cut(store):
    running(store)
    one, other = a_worker(store), a_worker(store)
    claim(store, one, want(6))
    store.work.bury(one)
    assert places(claim(store, other, want(4))) == [(0, 0, 4)]
    claimed = claim(store, other, want(4))
    assert [(got.start, got.lines, got.fresh) for got in claimed] == [(4, 2, False), (6, 2, True)]


def test_lines_of_a_shard_that_was_partly_done_at_first_are_never_fresh(store):
    batch = store.batches.create(a_batch())
    shard = replace(a_shard(batch.id), struck=True)
    admit(store, batch.id, shard, epoch=a_worker(store, "clerk"))
    (claimed,) = claim(store, a_worker(store))
    assert not claimed.fresh


def test_a_shard_is_done_when_all_is_taken_and_every_range_is_done(store):
    running(store)
    sender = a_worker(store)
    first, rest = claim(store, sender, want(4)), claim(store, sender, want(5))
    commit(store, sender, ends(), ends(), *all_of(first + rest, done=True))
    assert store.batches.sent() == []
    last = claim(store, sender)
    assert store.batches.sent() == []
    commit(store, sender, ends(), ends(), *all_of(last, done=True))
    assert [batch.id for batch in store.batches.sent()] == ["batch_1"]


def test_a_released_range_is_free_and_a_done_one_is_not(store):
    running(store)
    sender = a_worker(store)
    done, left = claim(store, sender, want(4)), claim(store, sender)
    commit(store, sender, ends(), ends(), *all_of(done, done=True), *all_of(left, released=True))
    assert places(claim(store, sender)) == [(0, 4, 6)]


def test_what_a_worker_holds_without_knowing_it_is_let_go(store):
    running(store)
    one, other = a_worker(store), a_worker(store)
    claim(store, one, want(2))
    claim(store, one, want(3))
    claim(store, other, want(2))
    store.work.release_unknown(one, {("batch_1", 0, 0)})
    assert places(claim(store, other)) == [(0, 2, 3), (0, 7, 3)]


def test_lines_that_fell_with_their_upstream_are_suspect_and_stay_together(store):
    running(store)
    one, other = a_worker(store), a_worker(store)
    claim(store, one, want(9))
    fell = RangeNews(shard=0, start=0, released=True, suspect=4)
    commit(store, one, ends(), ends(), fell)
    (suspects,) = claim(store, other, want(1))
    assert (suspects.start, suspects.lines, suspects.suspect) == (0, 4, True)
    (rest,) = claim(store, other, want(5))
    assert (rest.start, rest.lines, rest.suspect, rest.fresh) == (4, 5, False, False)
    commit(store, other, ends(), ends(), RangeNews(shard=0, start=4, released=True))
    commit(store, other, ends(), ends(), RangeNews(shard=0, start=0, released=True))
    assert [(got.start, got.suspect) for got in claim(store, one, want(9))] == [(0, False), (4, False)]


def test_only_its_holder_ends_a_range(store):
    running(store)
    one, other = a_worker(store), a_worker(store)
    claimed = claim(store, one)
    let_go(store, other, claimed)
    commit(store, other, ends(), ends(), *all_of(claimed, done=True))
    assert claim(store, other) == []
    assert store.batches.sent() == []


@pytest.mark.parametrize("became", [{}, {"done": True}, {"released": True}])
def test_outcomes_of_lines_that_another_holds_do_not_count(store, became):
    running(store)
    one, other = a_worker(store), a_worker(store)
    claimed = claim(store, one)
    with pytest.raises(Fenced, match="another worker"):
        commit(store, other, ends(), ends(5, 0, 20), *all_of(claimed, **became), completed=1)
    assert counted(store) == (0, 0)
    commit(store, one, ends(), ends(5, 0, 20), *all_of(claimed, **became), completed=1)
    assert counted(store) == (1, 0)


def test_the_last_account_takes_the_unfinished_shards_whoever_had_them(store):
    running(store, shards=3)
    sender, clerk = a_worker(store), a_worker(store, "clerk")
    done = claim(store, sender)
    left = claim(store, sender, want(4, shard=1))
    commit(store, sender, ends(), ends(), *all_of(done, done=True))
    store.batches.move("batch_1", Event.CANCEL_ASKED, now=NOW)
    taken = store.work.take_over(clerk, "batch_1", now=NOW, lease_s=LEASE_S)
    assert [shard.shard for shard in taken] == [1, 2]
    commit(store, sender, ends(), ends(), *all_of(left, done=True))
    assert [s.shard for s in store.work.take_over(clerk, "batch_1", now=NOW, lease_s=LEASE_S)] == [1, 2]
    for shard in taken:
        commit(store, clerk, ends(), ends(), RangeNews(shard=shard.shard, start=0, done=True))
    assert store.work.take_over(clerk, "batch_1", now=NOW, lease_s=LEASE_S) == []


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


def stretches(found: list[Extent]) -> list[tuple[int, int, int]]:
    """Whose output, from where to where."""
    return [(extent.epoch, extent.output_start, extent.output_end) for extent in found]


def test_each_worker_lengthens_its_own_extent_until_others_have_waited_long_behind_it(store):
    running(store)
    one, other = a_worker(store), a_worker(store)
    commit(store, one, ends(), ends(5, 0, 20))
    commit(store, other, ends(), ends(0, 7, 20), now=NOW + 1)
    commit(store, one, ends(5, 0, 20), ends(9, 0, 40), now=NOW + GROWS_S)
    assert stretches(store.work.extents("batch_1")) == [(one, 0, 9), (other, 0, 0)]
    assert stretches(store.work.settled_extents("batch_1")) == [(one, 0, 9)]
    commit(store, one, ends(9, 0, 40), ends(9, 3, 60), now=NOW + GROWS_S + 0.1)
    assert stretches(store.work.extents("batch_1")) == [(one, 0, 9), (other, 0, 0), (one, 9, 9)]
    assert stretches(store.work.settled_extents("batch_1")) == [(one, 0, 9), (other, 0, 0)]
    assert store.work.log_ends(one, "batch_1") == ends(9, 3, 60)
    assert store.work.log_ends(other, "batch_1") == ends(0, 7, 20)
    assert store.work.log_ends(one, "batch_2") == ends()


def test_the_last_extent_of_one_that_works_alone_grows_for_ever(store):
    running(store)
    one, other = a_worker(store), a_worker(store)
    commit(store, one, ends(), ends(5, 0, 20))
    commit(store, other, ends(), ends(5, 0, 20))
    commit(store, other, ends(5, 0, 20), ends(9, 0, 40), now=NOW + 10 * GROWS_S)
    assert stretches(store.work.extents("batch_1")) == [(one, 0, 5), (other, 0, 9)]


def test_nobody_waits_long_behind_a_worker_that_has_nothing_to_add(store):
    running(store)
    one, other = a_worker(store), a_worker(store)
    commit(store, one, ends(), ends(5, 0, 20))
    commit(store, other, ends(), ends(7, 0, 20))
    store.work.close_old_extents(now=NOW + GROWS_S)
    assert stretches(store.work.settled_extents("batch_1")) == [(one, 0, 5)]
    store.work.close_old_extents(now=NOW + GROWS_S + 0.1)
    assert stretches(store.work.settled_extents("batch_1")) == [(one, 0, 5), (other, 0, 7)]
    commit(store, one, ends(5, 0, 20), ends(6, 0, 40), now=NOW + GROWS_S + 1)
    assert stretches(store.work.extents("batch_1")) == [(one, 0, 5), (other, 0, 7), (one, 5, 6)]


def test_the_dead_add_nothing_and_nobody_waits_for_them(store):
    running(store)
    one, other = a_worker(store), a_worker(store)
    commit(store, one, ends(), ends(5, 0, 20))
    commit(store, other, ends(), ends(7, 0, 20))
    store.work.bury(one)
    assert stretches(store.work.settled_extents("batch_1")) == [(one, 0, 5), (other, 0, 7)]


def test_of_a_batch_that_has_ended_all_is_settled(store):
    running(store)
    for epoch in (a_worker(store), a_worker(store)):
        commit(store, epoch, ends(), ends(5, 0, 20))
    store.batches.close("batch_1", Event.ACCOUNTED, output=None, errors=None, now=NOW, event_id="evt_1")
    assert store.work.settled_extents("batch_1") == store.work.extents("batch_1")


def test_a_commit_whose_answer_was_lost_may_be_made_again(store):
    running(store)
    sender = a_worker(store)
    done = all_of(claim(store, sender), done=True)
    for _ in range(3):
        commit(store, sender, ends(), ends(5, 0, 20), *done, completed=1)
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

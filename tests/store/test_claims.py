"""Which lines are to be had, who holds them, and how a range ends."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from bulkrate.core.lifecycle import Event
from bulkrate.errors import Fenced
from bulkrate.store import claims
from bulkrate.store.records import RangeNews
from tests.store.records import NOW, a_batch, a_file, a_shard, a_worker, admit, running
from tests.store.working import LEASE_S, all_of, claim, commit, counted, ends, let_go, offered, places, want


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

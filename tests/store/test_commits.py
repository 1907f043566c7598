"""What counts, in which order it can be read, and that nothing that counts ever changes."""

from __future__ import annotations

import pytest

from bulkrate.core.lifecycle import Event
from bulkrate.errors import StoreError
from bulkrate.providers.usage import Usage
from bulkrate.store.extents import GROWS_S
from bulkrate.store.records import BatchCommit, Extent
from tests.store.records import NOW, a_worker, running
from tests.store.working import LEASE_S, all_of, claim, commit, counted, ends


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

"""Remote batches in the store: their lines stay theirs, their facts are written by one worker alone, and what
they answered is in the books once.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from bulkrate.core.lifecycle import Event
from bulkrate.errors import Fenced
from bulkrate.providers.usage import Usage
from bulkrate.store.records import (
    BatchCommit,
    LessonRecord,
    LogEnds,
    Moving,
    Range,
    RangeNews,
    RemoteRecord,
    Want,
)
from tests.store.records import NOW, a_file, a_worker, running

LEASE_S = 15.0
ENDS = LogEnds(output=10, errors=0, ledger=20)


def a_remote(name: str = "1", **fields) -> RemoteRecord:
    given = {
        "id": f"rb_{name}",
        "upstream": "provider",
        "batch_id": "batch_1",
        "shard": 0,
        "model": "m",
        "sent_as": "theirs",
        "generation": 1,
        "content": f"batches/batch_1/rb_{name}",
        "fingerprint": "00",
        "lines": 6,
        "size": 600,
        "tokens": 150,
        "intended_at": float(NOW),
    }
    return RemoteRecord(**(given | fields))


def a_driver(store, name: str = "provider") -> int:
    """A worker that drives the upstream."""
    epoch = a_worker(store, "delegate")
    assert store.upstreams.take(epoch, [name], most=1) == [name]
    return epoch


def claim(store, epoch: int, lines: int = 100) -> list[Range]:
    want = Want(batch_id="batch_1", shard=0, lines=lines)
    return store.work.claim(epoch, [want], now=NOW, lease_s=LEASE_S)


def intend(store, epoch: int, lines: int = 6, **fields) -> RemoteRecord:
    """A remote batch of the first lines that can be had."""
    [one] = claim(store, epoch)
    cut = Range(batch_id="batch_1", shard=0, start=one.start, lines=lines, fresh=False)
    return store.remotes.intend(epoch, a_remote(**fields), [cut])


def commit(store, epoch: int, remote: RemoteRecord, *news: RangeNews, completed: int = 1) -> None:
    made = BatchCommit(
        batch_id="batch_1",
        since=LogEnds(),
        until=ENDS,
        completed=completed,
        usage=Usage(input_tokens=3, output_tokens=4, total_tokens=7),
        ranges=news,
        remote=remote,
    )
    store.work.commit(epoch, [made], now=NOW, lease_s=LEASE_S)


@pytest.fixture
def batch(store) -> str:
    store.files.add(a_file())
    return running(store)


def test_lines_that_a_remote_batch_holds_outlive_their_worker(store, batch):
    epoch = a_driver(store)
    remote = intend(store, epoch)
    store.work.bury(epoch)
    [held] = store.remotes.held(remote)
    assert (held.start, held.lines) == (0, 6)
    other = a_worker(store)
    assert [(one.start, one.lines) for one in claim(store, other)] == [(6, 4)]
    assert claim(store, other) == []


def test_what_was_claimed_and_not_intended_is_free_again(store, batch):
    epoch = a_driver(store)
    intend(store, epoch)
    assert [(one.start, one.lines) for one in claim(store, a_worker(store))] == [(6, 4)]


def test_an_intent_needs_the_lines_it_is_about(store, batch):
    epoch = a_driver(store)
    stranger = Range(batch_id="batch_1", shard=0, start=0, lines=6, fresh=False)
    with pytest.raises(Fenced):
        store.remotes.intend(epoch, a_remote(), [stranger])
    assert store.remotes.open("provider") == []


def test_who_does_not_drive_the_upstream_writes_nothing(store, batch):
    epoch = a_driver(store)
    remote = intend(store, epoch)
    store.work.bury(epoch)
    successor = a_driver(store)
    with pytest.raises(Fenced):
        store.remotes.note(epoch, remote, remote_id="batch_x")
    with pytest.raises(Fenced):
        store.remotes.note(a_worker(store), remote, remote_id="batch_x")
    assert store.remotes.open("provider")[0].remote_id is None
    store.remotes.note(successor, remote, remote_id="batch_x", created_at=float(NOW))
    assert store.remotes.open("provider")[0].remote_id == "batch_x"


def test_outcomes_count_once_and_stand_in_the_books_as_delegated(store, batch):
    epoch = a_driver(store)
    remote = intend(store, epoch)
    for _ in range(2):  # the answer to the first commit was lost
        commit(store, epoch, remote, RangeNews(shard=0, start=0))
    found = store.batches.by_id("batch_1")
    assert (found.completed, found.total_tokens) == (1, 7)
    [bought] = store.remotes.purchases(["batch_1"])
    assert (bought.upstream, bought.model, bought.lines, bought.total_tokens) == ("provider", "theirs", 1, 7)


def test_outcomes_of_lines_that_the_remote_batch_does_not_hold_are_fenced(store, batch):
    epoch = a_driver(store)
    remote = intend(store, epoch)
    store.remotes.collected(epoch, remote, now=NOW, generation=1, rejections=0)
    with pytest.raises(Fenced, match="remote batch"):
        commit(store, epoch, remote, RangeNews(shard=0, start=0))
    assert store.remotes.purchases(["batch_1"]) == []


def test_a_shard_is_done_when_its_remote_batch_has_all_answers(store, batch):
    epoch = a_driver(store)
    remote = intend(store, epoch, lines=10, generation=2)
    commit(store, epoch, remote, RangeNews(shard=0, start=0, done=True), completed=10)
    assert [one.id for one in store.batches.sent()] == ["batch_1"]


def test_what_is_left_of_a_collected_one_is_free_and_of_the_next_generation(store, batch):
    epoch = a_driver(store)
    remote = intend(store, epoch)
    store.remotes.collected(epoch, remote, now=NOW, generation=1, rejections=0)
    left, fresh = claim(store, epoch)
    assert (left.start, left.lines, left.generation, left.fresh) == (0, 6, 1, False)
    assert (fresh.start, fresh.generation) == (6, 0)


def test_a_range_that_is_cut_keeps_its_past(store, batch):
    epoch = a_driver(store)
    remote = intend(store, epoch)
    store.remotes.collected(epoch, remote, now=NOW, generation=1, rejections=2)
    assert [(one.lines, one.generation, one.rejections) for one in claim(store, epoch, lines=2)] == [
        (2, 1, 2)
    ]
    assert [(one.lines, one.generation, one.rejections) for one in claim(store, epoch, lines=4)] == [
        (4, 1, 2)
    ]


def test_a_batch_is_not_settled_while_a_remote_batch_holds_its_lines(store, batch):
    epoch = a_driver(store)
    remote = intend(store, epoch)
    store.batches.move("batch_1", Event.CANCEL_ASKED, now=NOW)
    assert store.batches.settled(epoch) == []
    store.remotes.collected(epoch, remote, now=NOW, generation=1, rejections=0)
    assert [one.id for one in store.batches.settled(epoch)] == ["batch_1"]


def test_open_ones_are_listed_until_nothing_is_left_to_do(store, batch):
    epoch = a_driver(store)
    remote = intend(store, epoch)
    assert [one.id for one in store.remotes.open("provider")] == ["rb_1"]
    assert [one.id for one in store.remotes.of_strangers(["other"])] == ["rb_1"]
    assert store.remotes.of_strangers(["provider"]) == []
    store.remotes.note(epoch, remote, removed_at=float(NOW))
    assert store.remotes.open("provider") == []
    assert [one.id for one in store.remotes.of_batch("batch_1")] == ["rb_1"]


def test_the_lines_of_one_that_is_abandoned_are_free(store, batch):
    epoch = a_driver(store)
    remote = intend(store, epoch)
    store.work.bury(epoch)
    store.remotes.abandon(remote, now=NOW, why="the upstream is not configured")
    assert store.remotes.open("provider") == []
    assert len(claim(store, a_worker(store))) == 2


def test_a_batch_shows_what_it_has_at_providers(store, batch):
    epoch = a_driver(store)
    remote = intend(store, epoch)
    assert store.remotes.sums(["batch_1"]) == {}
    remote = store.remotes.note(epoch, remote, remote_id="r", completed=2, failed=1)
    [found] = store.remotes.sums(["batch_1", "batch_2"]).values()
    assert (found.batches, found.lines, found.completed, found.failed) == (1, 6, 2, 1)
    store.remotes.collected(epoch, remote, now=NOW, generation=1, rejections=0)
    assert store.remotes.sums(["batch_1"]) == {}


def test_what_a_batch_waits_for_at_providers_is_not_what_it_waits_for_elsewhere(store, batch):
    store.remotes.tell(a_worker(store, "sender-0"), "batch_1", Moving(in_flight=1, waiting="gpu: slow"))
    assert store.remotes.waiting(["batch_1"], role="delegate") == {}
    store.remotes.tell(a_driver(store), "batch_1", Moving(in_flight=1, waiting="provider: full"))
    assert store.remotes.waiting(["batch_1"], role="delegate") == {"batch_1": "provider: full"}


def test_creations_are_counted_and_ids_are_known(store, batch):
    epoch = a_driver(store)
    remote = intend(store, epoch)
    store.remotes.note(epoch, remote, create_asked_at=float(NOW), remote_id="r")
    assert store.remotes.created_since("provider", since=NOW - 1) == 1
    assert store.remotes.created_since("provider", since=NOW + 1) == 0
    assert store.remotes.known_ids("provider") == {"r"}


def test_news_of_a_provider_bring_the_next_look_forward(store, batch):
    epoch = a_driver(store)
    remote = store.remotes.note(epoch, intend(store, epoch), remote_id="r", look_at=NOW + 600.0)
    assert store.remotes.hasten("r", upstream="provider")
    assert not store.remotes.hasten("r", upstream="other")
    assert not store.remotes.hasten("unknown", upstream="provider")
    assert store.remotes.open("provider")[0].look_at == 0
    assert remote.look_at > 0


def test_what_a_dead_worker_said_of_a_batch_is_forgotten(store, batch):
    epoch = a_driver(store)
    store.remotes.tell(epoch, "batch_1", Moving(waiting="no room"))
    assert store.batches.moving(["batch_1"])["batch_1"].waiting == "no room"
    store.work.bury(epoch)
    assert store.batches.moving(["batch_1"]) == {}
    with pytest.raises(Fenced):
        store.remotes.tell(epoch, "batch_1", Moving(waiting="no room"))


def test_what_refusals_taught_is_kept_by_who_drives_the_upstream(store):
    epoch = a_driver(store)
    lesson = LessonRecord(
        upstream="provider",
        model="m",
        tokens_max=90_000,
        told=True,
        lines_max=None,
        learnt_at=float(NOW),
        refusals=1,
        not_before=NOW + 60.0,
    )
    store.remotes.learn(epoch, lesson)
    store.remotes.learn(epoch, replace(lesson, refusals=0))
    store.work.bury(epoch)
    assert store.remotes.lessons("provider") == [replace(lesson, refusals=0)]
    assert store.remotes.lessons("other") == []
    with pytest.raises(Fenced):
        store.remotes.learn(epoch, lesson)

"""Records of batches: created once, moved by the table alone, ended with their files and their news."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product

import pytest

from bulkrate.core.lifecycle import TRANSITIONS, Event, Status
from bulkrate.errors import Fenced, IllegalTransition
from bulkrate.store import Store
from bulkrate.store.records import BatchCommit, LogEnds, Moving, RangeNews, Want, WebhookRecord
from tests.store.records import DAY, NOW, a_batch, a_file, a_shard, a_worker, admit, running

LIVE = [status for status in Status if not status.terminal]


def page(store, *, after=None, limit=100, project="default"):
    place = store.batches.get(project, f"batch_{after}") if after else None
    return [
        batch.id.removeprefix("batch_") for batch in store.batches.page(project, after=place, limit=limit)
    ]


def status_of(store, batch_id: str) -> str:
    return store.batches.by_id(batch_id).status


def test_a_batch_comes_back_as_it_was_recorded(store):
    created = store.batches.create(a_batch(metadata=b'{"a":"b"}', output_expires_after_s=DAY))
    assert store.batches.get("default", "batch_1") == created
    assert store.batches.by_id("batch_1") == created


def test_a_batch_is_seen_by_its_project_alone(store):
    store.batches.create(a_batch(project="lab"))
    assert store.batches.get("default", "batch_1") is None
    assert page(store) == []
    assert page(store, project="lab") == ["1"]


@pytest.mark.parametrize("limit", [1, 2, 5, 6])
def test_pages_go_from_the_newest_to_the_oldest_without_a_gap(store, limit):
    for name in "abcde":
        store.batches.create(a_batch(name))
    seen: list[str] = []
    while found := page(store, after=seen[-1] if seen else None, limit=limit):
        seen += found
    assert seen == list("edcba")


# --- asked twice ---


def test_the_same_idempotency_key_brings_back_the_first_batch(store):
    first = store.batches.create(a_batch("1", idempotency_key="k", idempotency_digest="d1"))
    again = store.batches.create(a_batch("2", idempotency_key="k", idempotency_digest="d2"))
    assert again == first
    assert store.batches.by_id("batch_2") is None


def test_an_idempotency_key_is_a_projects_own(store):
    store.batches.create(a_batch("1", idempotency_key="k"))
    assert store.batches.create(a_batch("2", idempotency_key="k", project="lab")).id == "batch_2"


def test_without_a_key_every_request_is_a_batch(store):
    for name in "123":
        store.batches.create(a_batch(name))
    assert page(store) == ["3", "2", "1"]


def test_of_many_creations_at_once_with_one_key_one_makes_a_batch(store):
    def create(number: int) -> str:
        return store.batches.create(a_batch(str(number), idempotency_key="k")).id

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(create, range(16)))) == 1
    assert len(page(store)) == 1


@pytest.mark.parametrize("status", Status)
def test_a_retry_is_refused_while_one_of_its_family_is_live(store, status):
    store.batches.create(a_batch("1", status="expired"))
    store.batches.create(a_batch("2", family="batch_1", status=status))
    retry = store.batches.create_retry(a_batch("3", family="batch_1", retry_of="batch_1"))
    assert (retry is None) == (status in LIVE)


def test_a_retry_is_not_refused_for_a_stranger(store):
    store.batches.create(a_batch("1", status="expired"))
    store.batches.create(a_batch("2"))
    assert store.batches.create_retry(a_batch("3", family="batch_1")).id == "batch_3"


def test_a_retry_asked_for_twice_with_one_key_is_one(store):
    store.batches.create(a_batch("1", status="expired"))
    first = store.batches.create_retry(a_batch("2", family="batch_1", idempotency_key="k"))
    assert store.batches.create_retry(a_batch("3", family="batch_1", idempotency_key="k")) == first


def test_of_many_retries_at_once_one_is_made(store):
    store.batches.create(a_batch("1", status="expired"))

    def retry(number: int) -> bool:
        return store.batches.create_retry(a_batch(f"r{number}", family="batch_1")) is not None

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(retry, range(16))) == 1
    assert len(store.batches.family("batch_1")) == 2


# --- moving ---


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One store for the many rows of a table."""
    store = Store(tmp_path_factory.mktemp("store") / "bulkrate.db")
    yield store
    store.close()


@pytest.mark.parametrize(("status", "event"), list(product(Status, Event)), ids=str)
def test_a_move_writes_the_status_and_its_moment_or_nothing(shared, status, event):
    before = shared.batches.create(a_batch(f"{status}-{event}", status=status))
    if (status, event) not in TRANSITIONS:
        with pytest.raises(IllegalTransition):
            shared.batches.move(before.id, event, now=NOW + 5)
        assert shared.batches.by_id(before.id) == before
        return
    moved = shared.batches.move(before.id, event, now=NOW + 5)
    assert moved == shared.batches.by_id(before.id)
    assert moved.state is TRANSITIONS[status, event]
    assert getattr(moved, moved.state.reached_at) == NOW + 5
    times = {name for name in moved.__dataclass_fields__ if name.endswith("_at")}
    changed = {name for name in times if getattr(moved, name) != getattr(before, name)}
    assert changed == {moved.state.reached_at}


def test_what_is_not_there_does_not_move(store):
    assert store.batches.move("batch_1", Event.CANCEL_ASKED, now=NOW) is None


def test_the_batch_object_keeps_the_moment_of_every_status_it_went_through(store):
    running(store)
    store.batches.move("batch_1", Event.LINES_DONE, now=NOW + 10)
    store.batches.close("batch_1", Event.ACCOUNTED, output=None, errors=None, now=NOW + 20, event_id="evt_1")
    batch = store.batches.by_id("batch_1")
    assert (batch.in_progress_at, batch.finalizing_at, batch.completed_at) == (NOW, NOW + 10, NOW + 20)
    assert (batch.cancelling_at, batch.cancelled_at, batch.expired_at, batch.failed_at) == (None,) * 4


# --- admitting ---


def test_an_admitted_batch_has_its_plan_and_its_total(store):
    store.batches.create(a_batch())
    shards = [a_shard("batch_1", 0, lines=3), a_shard("batch_1", 1, lines=4, model="n")]
    assert admit(store, "batch_1", *shards, epoch=a_worker(store, "clerk"), now=NOW + 1)
    batch = store.batches.by_id("batch_1")
    assert (batch.status, batch.planned, batch.total, batch.model) == ("in_progress", True, 7, "m")
    assert batch.in_progress_at == NOW + 1
    assert store.work.shards("batch_1") == shards
    assert store.batches.models_waited_for(["batch_1"]) == {"batch_1": {"m", "n"}}


def test_of_two_clerks_that_read_one_file_one_admits(store):
    store.batches.create(a_batch())
    one, other = a_worker(store, "clerk"), a_worker(store, "clerk")
    assert admit(store, "batch_1", a_shard("batch_1", lines=3), epoch=one)
    assert not admit(store, "batch_1", a_shard("batch_1", lines=9), epoch=other)
    assert store.batches.by_id("batch_1").total == 3
    assert len(store.work.shards("batch_1")) == 1


def test_a_clerk_that_was_declared_dead_admits_nothing(store):
    store.batches.create(a_batch())
    clerk = a_worker(store, "clerk")
    store.work.bury(clerk)
    with pytest.raises(Fenced):
        admit(store, "batch_1", a_shard("batch_1"), epoch=clerk)
    assert not store.batches.by_id("batch_1").planned
    assert store.work.shards("batch_1") == []


def test_a_batch_cancelled_while_it_was_read_gets_its_plan_and_stays_cancelling(store):
    store.batches.create(a_batch())
    store.batches.move("batch_1", Event.CANCEL_ASKED, now=NOW)
    assert admit(store, "batch_1", a_shard("batch_1"), epoch=a_worker(store, "clerk"))
    batch = store.batches.by_id("batch_1")
    assert (batch.status, batch.planned, batch.total, batch.in_progress_at) == ("cancelling", True, 10, None)


def test_bad_lines_that_were_told_of_count_as_failed_from_the_start(store):
    store.batches.create(a_batch())
    told = BatchCommit(batch_id="batch_1", since=LogEnds(), until=LogEnds(errors=50, ledger=40), failed=2)
    clerk = a_worker(store, "clerk")
    assert store.batches.admit([a_shard("batch_1")], told, epoch=clerk, model="m", total=12, now=NOW)
    assert store.batches.by_id("batch_1").failed == 2
    (extent,) = store.work.extents("batch_1")
    assert (extent.epoch, extent.errors_end, extent.ledger_end) == (clerk, 50, 40)


def test_a_batch_that_is_gone_is_not_admitted(store):
    assert not admit(store, "batch_1", a_shard("batch_1"), epoch=a_worker(store, "clerk"))


# --- rejecting ---


def reject(store, batch_id: str = "batch_1") -> None:
    store.batches.reject(batch_id, b'["all"]', b'["first"]', now=NOW + 1, event_id="evt_1")


def test_a_rejected_batch_has_its_faults_and_lists_tell_the_first(store):
    store.batches.create(a_batch())
    reject(store)
    batch = store.batches.by_id("batch_1")
    assert (batch.status, batch.failed_at, batch.faults) == ("failed", NOW + 1, b'["all"]')
    assert store.batches.page("default", after=None, limit=1)[0].faults == b'["first"]'


def test_a_batch_that_was_cancelled_or_admitted_meanwhile_is_not_rejected(store):
    store.batches.create(a_batch("1"))
    store.batches.move("batch_1", Event.CANCEL_ASKED, now=NOW)
    running(store, "2")
    for batch_id, status in (("batch_1", "cancelling"), ("batch_2", "in_progress")):
        reject(store, batch_id)
        assert status_of(store, batch_id) == status
        assert store.batches.by_id(batch_id).faults is None


@pytest.mark.parametrize("first", ["cancel", "reject"])
def test_cancel_and_reject_at_once_end_in_one_of_the_two(store, first):
    store.batches.create(a_batch())
    if first == "cancel":
        store.batches.move("batch_1", Event.CANCEL_ASKED, now=NOW)
        reject(store)
        assert status_of(store, "batch_1") == "cancelling"
    else:
        reject(store)
        with pytest.raises(IllegalTransition):
            store.batches.move("batch_1", Event.CANCEL_ASKED, now=NOW)
        assert status_of(store, "batch_1") == "failed"


def test_of_many_cancels_at_once_one_moves_the_batch(store):
    running(store)

    def cancel(_: int) -> bool:
        try:
            store.batches.move("batch_1", Event.CANCEL_ASKED, now=NOW)
        except IllegalTransition:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(cancel, range(16))) == 1


# --- ending ---


@pytest.mark.parametrize(
    ("moves", "event", "status"),
    [
        ([Event.LINES_DONE], Event.ACCOUNTED, "completed"),
        ([Event.DEADLINE_PASSED], Event.ACCOUNTED_LATE, "expired"),
        ([Event.CANCEL_ASKED], Event.ACCOUNTED, "cancelled"),
        ([Event.CANCEL_ASKED], Event.ACCOUNTED_LATE, "cancelled"),
        ([Event.LINES_DONE, Event.CANCEL_ASKED], Event.ACCOUNTED, "cancelled"),
    ],
)
def test_closing_ends_the_batch_and_its_files_appear(store, moves, event, status):
    running(store)
    for move in moves:
        store.batches.move("batch_1", move, now=NOW)
    output = a_file("out", purpose="batch_output", batch_id="batch_1", stream="output")
    errors = a_file("err", purpose="batch_output", batch_id="batch_1", stream="errors")
    closed = store.batches.close(
        "batch_1", event, output=output, errors=errors, now=NOW + 9, event_id="evt_1"
    )
    assert closed == status
    batch = store.batches.by_id("batch_1")
    assert (batch.status, batch.output_file_id, batch.error_file_id) == (status, "file-out", "file-err")
    assert getattr(batch, f"{status}_at") == NOW + 9
    assert store.files.get("default", "file-out", now=NOW).stream == "output"
    assert store.files.get("default", "file-err", now=NOW).stream == "errors"


def test_a_batch_is_closed_once(store):
    running(store)
    store.batches.move("batch_1", Event.LINES_DONE, now=NOW)
    for number, expected in ((1, Status.COMPLETED), (2, None)):
        output = a_file(f"out{number}", batch_id="batch_1", stream="output")
        closed = store.batches.close(
            "batch_1", Event.ACCOUNTED, output=output, errors=None, now=NOW, event_id=f"evt_{number}"
        )
        assert closed is expected
    assert store.batches.by_id("batch_1").output_file_id == "file-out1"
    assert store.files.place("default", "file-out2") is None


def subscribe(store, name: str, *types: str, project: str = "default") -> None:
    store.webhooks.add(
        WebhookRecord(
            id=f"we_{name}",
            project=project,
            name=name,
            url="http://127.0.0.1:1/",
            event_types=json.dumps(types).encode(),
            secret="whsec_AAAA",
            created_at=NOW,
            updated_at=NOW,
        )
    )


def outbox(store, name: str) -> list[tuple[str, str, str]]:
    found = store.webhooks.deliveries_page(f"we_{name}", after=None, limit=10)
    return [(delivery.event_type, delivery.batch_id, delivery.event_id) for delivery in found]


def test_an_end_is_told_to_every_receiver_of_the_project_that_asked_for_it(store):
    subscribe(store, "a", "batch.completed", "batch.failed")
    subscribe(store, "b", "batch.completed")
    subscribe(store, "c", "batch.cancelled")
    subscribe(store, "d", "batch.completed", project="lab")
    running(store)
    store.batches.move("batch_1", Event.LINES_DONE, now=NOW)
    assert outbox(store, "a") == []
    store.batches.close("batch_1", Event.ACCOUNTED, output=None, errors=None, now=NOW, event_id="evt_1")
    told = [("batch.completed", "batch_1", "evt_1")]
    assert [outbox(store, name) for name in "abcd"] == [told, told, [], []]


def test_a_rejected_batch_is_told_as_failed(store):
    subscribe(store, "a", "batch.failed")
    store.batches.create(a_batch())
    reject(store)
    reject(store)
    assert outbox(store, "a") == [("batch.failed", "batch_1", "evt_1")]


# --- what is to be done ---


def test_what_waits_for_its_plan_is_offered_oldest_first(store):
    for name, status in (("1", "validating"), ("2", "cancelling"), ("3", "failed"), ("4", "validating")):
        store.batches.create(a_batch(name, status=status))
    running(store, "5")
    assert [batch.id for batch in store.batches.unplanned(limit=9)] == ["batch_1", "batch_2", "batch_4"]
    assert [batch.id for batch in store.batches.unplanned(limit=2)] == ["batch_1", "batch_2"]


def claim(store, epoch: int, *shards: int) -> tuple[RangeNews, ...]:
    """Claim some shards whole; as news of them."""
    wants = [Want(batch_id="batch_1", shard=shard, lines=10) for shard in shards]
    claimed = store.work.claim(epoch, wants, now=NOW, lease_s=15)
    assert [one.shard for one in claimed] == list(shards)
    return tuple(RangeNews(shard=one.shard, start=one.start) for one in claimed)


def tell(store, epoch: int, *news: RangeNews, moving: Moving | None = None) -> None:
    commit = BatchCommit(batch_id="batch_1", since=LogEnds(), until=LogEnds(), ranges=news, moving=moving)
    store.work.commit(epoch, [commit], now=NOW, lease_s=15)


def test_a_batch_is_sent_when_its_every_shard_is_done(store):
    running(store, shards=2)
    sender = a_worker(store)
    for news in claim(store, sender, 0, 1):
        assert store.batches.sent() == []
        tell(store, sender, replace(news, done=True))
    assert [batch.id for batch in store.batches.sent()] == ["batch_1"]


def test_a_batch_without_any_line_to_send_is_sent(store):
    store.batches.create(a_batch())
    admit(store, "batch_1", epoch=a_worker(store, "clerk"))
    assert [batch.id for batch in store.batches.sent()] == ["batch_1"]


def test_a_batch_is_due_at_the_end_of_its_window(store):
    running(store, expires_at=NOW + 10)
    store.batches.create(a_batch("2", expires_at=NOW))  # not read yet: its lines are not known
    assert store.batches.due(now=NOW + 9.9) == []
    assert store.batches.due(now=NOW + 10) == ["batch_1"]


def test_a_closing_batch_waits_for_the_worker_that_holds_its_lines(store):
    running(store, shards=2)
    sender, clerk = a_worker(store), a_worker(store, "clerk")
    (held,) = claim(store, sender, 0)
    assert store.batches.settled(clerk) == []
    store.batches.move("batch_1", Event.CANCEL_ASKED, now=NOW)
    assert store.batches.settled(clerk) == []
    tell(store, sender, replace(held, released=True))
    assert [batch.id for batch in store.batches.settled(clerk)] == ["batch_1"]


def test_a_closing_batch_does_not_wait_for_the_dead(store):
    running(store)
    sender = a_worker(store)
    claim(store, sender, 0)
    store.batches.move("batch_1", Event.DEADLINE_PASSED, now=NOW)
    store.work.bury(sender)
    assert [batch.id for batch in store.batches.settled(a_worker(store, "clerk"))] == ["batch_1"]


def test_a_last_account_that_failed_is_begun_again_by_the_same_clerk(store):
    # It held the lines itself by then, and waited for itself until it was started anew.
    running(store)
    clerk = a_worker(store, "clerk")
    store.batches.move("batch_1", Event.CANCEL_ASKED, now=NOW)
    store.work.take_over(clerk, "batch_1", now=NOW, lease_s=15)
    assert [batch.id for batch in store.batches.settled(clerk)] == ["batch_1"]
    assert store.batches.settled(a_worker(store, "clerk")) == []


def test_a_closing_batch_without_a_plan_is_not_settled(store):
    store.batches.create(a_batch(status="cancelling"))
    assert store.batches.settled(a_worker(store, "clerk")) == []


def test_statuses_and_counts_are_told(store):
    running(store, "1")
    store.batches.create(a_batch("2"))
    assert store.batches.statuses(["batch_1", "batch_2", "batch_3"]) == {
        "batch_1": Status.IN_PROGRESS,
        "batch_2": Status.VALIDATING,
    }
    assert store.batches.counts() == {"in_progress": 1, "validating": 1}


def test_progress_is_the_sum_over_the_workers_that_tell_of_it(store):
    running(store)
    one, other = a_worker(store), a_worker(store)
    tell(store, one, moving=Moving(in_flight=9, lines_per_s=9.0))
    tell(store, one, moving=Moving(in_flight=3, lines_per_s=1.5, waiting="why"))
    tell(store, other, moving=Moving(in_flight=4, lines_per_s=2.0))
    tell(store, other)  # nothing new
    both = Moving(in_flight=7, lines_per_s=3.5, waiting="why")
    assert store.batches.moving(["batch_1", "batch_2"]) == {"batch_1": both}
    store.work.bury(one)
    assert store.batches.moving(["batch_1"]) == {"batch_1": Moving(in_flight=4, lines_per_s=2.0)}
    tell(store, other, moving=Moving())
    assert store.batches.moving(["batch_1"]) == {}


def test_a_batch_in_progress_goes_through_finalizing_when_it_is_closed(store):
    running(store)
    batch_id = "batch_1"
    ended = store.batches.close(
        batch_id, Event.ACCOUNTED, output=None, errors=None, now=NOW + 5, event_id="evt_1"
    )
    batch = store.batches.by_id(batch_id)
    assert (ended, batch.status) == (Status.COMPLETED, "completed")
    assert (batch.finalizing_at, batch.completed_at) == (NOW + 5, NOW + 5)

"""Records of webhook endpoints and the outbox, on a real SQLite file."""

import json

import pytest

from bulkrate.store import Store
from bulkrate.store.records import BatchRecord, WebhookRecord

NOW = 1_000_000


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "bulkrate.db")
    yield store
    store.close()


def webhook(number: int, *event_types: str, **fields) -> WebhookRecord:
    """An endpoint that wants `event_types`, or failed batches."""
    given = {
        "id": f"we_{number}",
        "project": "default",
        "name": f"number {number}",
        "url": "http://127.0.0.1:1/hook",
        "event_types": json.dumps(event_types or ["batch.failed"]).encode(),
        "secret": "whsec_AAAA",
        "created_at": NOW,
        "updated_at": NOW,
    }
    return WebhookRecord(**(given | fields))


def fail_a_batch(store, name: str, *, project: str = "default", now: int = NOW) -> None:
    """End a batch, so that the outbox is filled the way it is in earnest."""
    batch = BatchRecord(
        id=f"batch_{name}",
        project=project,
        endpoint="/v1/chat/completions",
        input_file_id="file-1",
        completion_window="24h",
        status="validating",
        created_at=now,
        expires_at=now + 86_400,
        family=f"batch_{name}",
    )
    store.batches.create(batch)
    store.batches.reject(batch.id, b"[]", b"[]", now=now, event_id=f"evt_{name}")


def settle(store, delivery, status: str, **fields) -> bool:
    given = {
        "attempts": delivery.attempts + 1,
        "next_attempt_at": None,
        "delivered_at": None,
        "last_status_code": None,
        "last_error": None,
    }
    return store.webhooks.settle(delivery.id, status=status, **(given | fields))


def test_an_endpoint_is_seen_by_its_own_project_alone(store):
    added = store.webhooks.add(webhook(1, project="lab"))

    assert store.webhooks.get("lab", "we_1") == added
    assert store.webhooks.get("default", "we_1") is None
    assert store.webhooks.by_id("we_1") == added
    assert store.webhooks.update("default", "we_1", name="mine") is None
    assert not store.webhooks.delete("default", "we_1")


def test_a_full_project_takes_no_more_endpoints(store):
    for number in (1, 2):
        assert store.webhooks.add(webhook(number), project_max=2)

    assert store.webhooks.add(webhook(3), project_max=2) is None
    assert store.webhooks.add(webhook(4, project="lab"), project_max=2)
    assert (store.webhooks.count("default"), store.webhooks.count("lab")) == (2, 1)


def test_an_update_changes_what_it_names_and_returns_the_rest(store):
    added = store.webhooks.add(webhook(1))
    changed = store.webhooks.update("default", "we_1", name="new", updated_at=NOW + 9)

    assert (changed.name, changed.updated_at, changed.url) == ("new", NOW + 9, added.url)
    assert store.webhooks.by_id("we_1") == changed


def test_endpoints_are_paged_in_both_orders(store):
    for number in (1, 2, 3):
        store.webhooks.add(webhook(number))
    middle = store.webhooks.by_id("we_2")

    def page(**how):
        return [found.id for found in store.webhooks.page("default", **how)]

    assert page(newest_first=True, after=None, limit=2) == ["we_3", "we_2"]
    assert page(newest_first=True, after=middle, limit=2) == ["we_1"]
    assert page(newest_first=False, after=middle, limit=2) == ["we_3"]


def test_an_event_goes_to_those_of_its_project_that_asked_for_its_type(store):
    store.webhooks.add(webhook(1, "batch.failed", "batch.completed"))
    store.webhooks.add(webhook(2, "batch.completed"))
    store.webhooks.add(webhook(3, project="lab"))
    store.webhooks.add(webhook(4))
    fail_a_batch(store, "a")

    due = store.webhooks.due(now=NOW, limit=10)
    assert [(d.webhook_id, d.event_id, d.batch_id) for d in due] == [
        ("we_1", "evt_a", "batch_a"),
        ("we_4", "evt_a", "batch_a"),
    ]


def test_a_delivery_is_due_from_its_moment_on(store):
    store.webhooks.add(webhook(1))
    assert store.webhooks.next_due() is None
    fail_a_batch(store, "a")

    assert store.webhooks.next_due() == NOW
    assert store.webhooks.due(now=NOW - 1, limit=10) == []
    assert len(store.webhooks.due(now=NOW, limit=10)) == 1


def test_a_settled_delivery_is_not_due_any_more(store):
    store.webhooks.add(webhook(1))
    fail_a_batch(store, "a")
    [delivery] = store.webhooks.due(now=NOW, limit=10)

    assert settle(store, delivery, "delivered", delivered_at=NOW + 1, last_status_code=204)
    assert store.webhooks.due(now=NOW + 9, limit=10) == []
    assert store.webhooks.next_due() is None
    found = store.webhooks.delivery("we_1", delivery.id)
    assert (found.status, found.attempts, found.delivered_at, found.last_status_code) == (
        "delivered",
        1,
        NOW + 1,
        204,
    )


def test_what_was_never_tried_comes_before_retries_however_overdue(store):
    store.webhooks.add(webhook(1))
    fail_a_batch(store, "old")
    [old] = store.webhooks.due(now=NOW, limit=10)
    settle(store, old, "pending", next_attempt_at=NOW + 1.5, last_error="no connection")
    fail_a_batch(store, "new", now=NOW + 1_000)

    assert store.webhooks.next_due() == NOW + 1.5
    [first] = store.webhooks.due(now=NOW + 2_000, limit=1)
    assert first.event_id == "evt_new"


def test_deliveries_are_paged_newest_first(store):
    store.webhooks.add(webhook(1))
    for name in "abc":
        fail_a_batch(store, name)

    [newest, middle] = store.webhooks.deliveries_page("we_1", after=None, limit=2)
    assert [newest.event_id, middle.event_id] == ["evt_c", "evt_b"]
    assert [d.event_id for d in store.webhooks.deliveries_page("we_1", after=middle, limit=2)] == ["evt_a"]
    assert store.webhooks.delivery("we_2", newest.id) is None


def test_deleting_an_endpoint_drops_its_deliveries_and_no_others(store):
    for number in (1, 2):
        store.webhooks.add(webhook(number))
    fail_a_batch(store, "a")
    [lost, kept] = store.webhooks.due(now=NOW, limit=10)

    assert store.webhooks.delete("default", "we_1")
    assert store.webhooks.due(now=NOW, limit=10) == [kept]
    assert not settle(store, lost, "delivered")
    assert not store.webhooks.delete("default", "we_1")


def test_pruning_forgets_old_deliveries_that_ended_and_never_a_pending_one(store):
    store.webhooks.add(webhook(1))
    for name, now in (("ended", NOW), ("waits", NOW), ("young", NOW + 500)):
        fail_a_batch(store, name, now=now)
    for delivery in store.webhooks.due(now=NOW + 500, limit=10):
        if delivery.event_id != "evt_waits":
            settle(store, delivery, "abandoned")

    assert store.webhooks.prune(older_than=NOW + 500) == 1
    left = store.webhooks.deliveries_page("we_1", after=None, limit=10)
    assert [delivery.event_id for delivery in left] == ["evt_young", "evt_waits"]

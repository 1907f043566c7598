"""The census counts what is there, over all projects, and lists only what runs."""

from __future__ import annotations

from tests.store.records import a_batch, a_file, running


def test_only_batches_that_have_not_ended_are_listed_oldest_first(store):
    first = running(store, "1")
    store.batches.create(a_batch("2", status="completed"))
    store.batches.create(a_batch("3", project="other"))
    seen = store.census.running(limit=10)
    assert [(batch.id, batch.status, batch.total) for batch in seen] == [
        (first, "in_progress", 10),
        ("batch_3", "validating", 0),
    ]
    assert [batch.id for batch in store.census.running(limit=1)] == [first]


def test_files_are_counted_by_purpose_and_whether_they_are_deleted(store):
    assert store.census.files() == {}
    store.files.add(a_file("1", bytes=10))
    store.files.add(a_file("2", bytes=5, project="other"))
    store.files.add(a_file("3", bytes=7, purpose="batch_output"))
    assert store.census.files() == {("batch", "kept"): (2, 15), ("batch_output", "kept"): (1, 7)}

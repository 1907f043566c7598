"""Records of files: who sees what, in which order, and when the bytes may go."""

from __future__ import annotations

from itertools import product

import pytest

from tests.store.records import DAY, NOW, a_batch, a_file

LIVE = ("validating", "in_progress", "finalizing", "cancelling")
ENDED = ("completed", "failed", "expired", "cancelled")


def page(store, *, after=None, newest_first=True, limit=100, purpose=None, project="default", now=NOW):
    found = store.files.page(
        project, purpose=purpose, newest_first=newest_first, after=after, limit=limit, now=now
    )
    return [file.id.removeprefix("file-") for file in found]


def removable(store) -> set[str]:
    return {file.id.removeprefix("file-") for file in store.files.unreferenced(limit=100)}


def delete(store, *names: str) -> None:
    for name in names:
        assert store.files.delete("default", f"file-{name}", now=NOW)


def test_a_file_is_seen_by_its_project_alone(store):
    store.files.add(a_file(project="lab"))
    assert store.files.get("lab", "file-1", now=NOW) is not None
    assert store.files.get("default", "file-1", now=NOW) is None
    assert store.files.place("default", "file-1") is None
    assert not store.files.delete("default", "file-1", now=NOW)
    assert page(store) == []


def test_a_file_comes_back_as_it_was_recorded(store):
    added = store.files.add(a_file(filename="ünï.jsonl", bytes=2**40, expires_at=NOW + DAY))
    assert store.files.get("default", "file-1", now=NOW) == added


@pytest.mark.parametrize(
    ("expires_at", "now", "seen"),
    [(None, NOW + 10**6, True), (NOW + 10, NOW + 9.9, True), (NOW + 10, NOW + 10, False)],
)
def test_a_file_is_seen_until_the_moment_it_expires(store, expires_at, now, seen):
    store.files.add(a_file(expires_at=expires_at))
    assert (store.files.get("default", "file-1", now=now) is not None) == seen
    assert bool(page(store, now=now)) == seen
    assert store.files.delete("default", "file-1", now=int(now)) == seen


def test_a_deleted_file_is_gone_for_its_owner_but_keeps_its_place_in_lists(store):
    for name in "abc":
        store.files.add(a_file(name))
    delete(store, "b")
    assert store.files.get("default", "file-b", now=NOW) is None
    assert page(store) == ["c", "a"]
    place = store.files.place("default", "file-b")
    assert page(store, after=place) == ["a"]
    assert page(store, after=place, newest_first=False) == ["c"]


def test_a_file_is_deleted_once(store):
    store.files.add(a_file())
    assert store.files.delete("default", "file-1", now=NOW)
    assert not store.files.delete("default", "file-1", now=NOW)


@pytest.mark.parametrize(("newest_first", "names"), [(True, "edcba"), (False, "abcde")])
@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6])
def test_pages_follow_one_another_without_a_gap_though_all_is_of_one_second(
    store, newest_first, names, limit
):
    for name in "abcde":
        store.files.add(a_file(name, created_at=NOW))
    seen: list[str] = []
    while found := page(
        store,
        after=store.files.place("default", f"file-{seen[-1]}") if seen else None,
        newest_first=newest_first,
        limit=limit,
    ):
        assert len(found) <= limit
        seen += found
    assert seen == list(names)


def test_a_page_may_be_of_one_purpose(store):
    store.files.add(a_file("a"))
    store.files.add(a_file("b", purpose="batch_output", batch_id="batch_1", stream="output"))
    assert page(store, purpose="batch_output") == ["b"]
    assert page(store, purpose="batch") == ["a"]
    assert page(store, purpose="vision") == []


def test_what_has_expired_is_deleted_and_counted_once(store):
    for name, expires_at in (("a", None), ("b", NOW), ("c", NOW + 1), ("d", NOW - 5)):
        store.files.add(a_file(name, expires_at=expires_at))
    assert store.files.expire(now=NOW) == 2
    assert store.files.expire(now=NOW) == 0
    assert page(store) == ["c", "a"]


# --- when the bytes may go ---


def test_the_bytes_of_a_file_that_is_not_deleted_stay(store):
    store.files.add(a_file())
    assert removable(store) == set()


@pytest.mark.parametrize("status", [*LIVE, *ENDED])
def test_an_input_stays_while_one_of_its_batches_is_live(store, status):
    store.files.add(a_file())
    store.batches.create(a_batch("old", status="completed"))
    store.batches.create(a_batch(status=status))
    delete(store, "1")
    assert removable(store) == (set() if status in LIVE else {"1"})


@pytest.mark.parametrize(("output_gone", "errors_gone"), list(product([False, True], repeat=2)))
def test_the_two_results_of_a_batch_go_together(store, output_gone, errors_gone):
    # Both are cut from the same logs.
    store.batches.create(a_batch(status="completed"))
    for name in ("output", "errors"):
        store.files.add(a_file(name, batch_id="batch_1", stream=name))
    delete(store, *(["output"] if output_gone else []), *(["errors"] if errors_gone else []))
    assert removable(store) == ({"output", "errors"} if output_gone and errors_gone else set())


def test_a_result_that_has_no_sibling_goes_alone(store):
    store.batches.create(a_batch(status="completed"))
    store.files.add(a_file("output", batch_id="batch_1", stream="output"))
    delete(store, "output")
    assert removable(store) == {"output"}


@pytest.mark.parametrize("status", [*LIVE, *ENDED])
def test_a_result_stays_while_a_retry_reads_which_lines_are_answered(store, status):
    store.batches.create(a_batch(status="expired"))
    store.batches.create(a_batch("2", family="batch_1", retry_of="batch_1", status=status))
    store.batches.create(a_batch("3", status="in_progress"))  # a stranger
    store.files.add(a_file("output", batch_id="batch_1", stream="output"))
    delete(store, "output")
    assert removable(store) == (set() if status in LIVE else {"output"})


def test_what_is_purged_is_not_offered_again_and_keeps_its_place(store):
    store.files.add(a_file())
    delete(store, "1")
    store.files.purged("file-1")
    assert removable(store) == set()
    assert store.files.place("default", "file-1") is not None


def test_bytes_go_a_few_at_a_time(store):
    for name in "abc":
        store.files.add(a_file(name))
    delete(store, *"abc")
    assert len(store.files.unreferenced(limit=2)) == 2

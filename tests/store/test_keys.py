"""Records of API keys, on a real SQLite file."""

import pytest

from bulkrate.store import Store
from bulkrate.store.records import KeyRecord


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "bulkrate.db")
    yield store
    store.close()


def key(number: int, **fields) -> KeyRecord:
    """A key whose id, digest and hint are told apart by `number`."""
    given = {
        "id": f"key_{number}",
        "project": "default",
        "name": "",
        "digest": f"digest-{number}",
        "hint": f"sk-bulkrate-aa{number:02}...wxyz",
        "created_at": 100 + number,
    }
    return KeyRecord(**(given | fields))


def test_a_key_opens_its_project_by_its_digest(store):
    store.keys.add(key(1, project="lab"))

    assert store.keys.project_of("digest-1") == "lab"
    assert store.keys.project_of("digest-2") is None


def test_a_revoked_key_opens_nothing_but_stays_on_record(store):
    added = store.keys.add(key(1))
    revoked = store.keys.revoke("key_1", now=200)

    assert revoked is not None
    assert revoked.revoked_at == 200
    assert store.keys.project_of("digest-1") is None
    assert store.keys.all() == [revoked]
    assert revoked.seq == added.seq


def test_a_key_is_revoked_once(store):
    store.keys.add(key(1))
    store.keys.revoke("key_1", now=200)

    assert store.keys.revoke("key_1", now=300) is None
    assert store.keys.all()[0].revoked_at == 200


def test_whether_any_key_is_active_follows_each_change(store):
    assert not store.keys.any_active()
    store.keys.add(key(1))
    assert store.keys.any_active()
    store.keys.revoke("key_1", now=200)
    assert not store.keys.any_active()


def test_keys_are_listed_oldest_first(store):
    for number in (3, 1, 2):
        store.keys.add(key(number))

    assert [found.id for found in store.keys.all()] == ["key_3", "key_1", "key_2"]


@pytest.mark.parametrize("which", ["key_1", "nightly", "sk-bulkrate-aa01", "sk-bulkrate-aa01...wxyz"])
def test_a_key_is_revoked_by_its_id_its_name_or_the_beginning_of_its_hint(store, which):
    store.keys.add(key(1, name="nightly"))
    store.keys.add(key(2, name="hourly"))

    assert store.keys.revoke(which, now=200).id == "key_1"


@pytest.mark.parametrize("which", ["nightly", "", "key_", "sk-bulkrate-", "sk-bulkrate-a", "KEY_1", "%"])
def test_nothing_is_revoked_by_what_could_mean_several_keys_or_none(store, which):
    store.keys.add(key(1, name="nightly"))
    store.keys.add(key(2, name="nightly"))

    assert store.keys.revoke(which, now=200) is None
    assert all(found.revoked_at is None for found in store.keys.all())


@pytest.mark.parametrize("which", ["", "sk-bulkrate-", "sk-bulkrate-aa0", "SK-BULKRATE-AA01"])
def test_a_half_pasted_key_does_not_mean_the_only_one(store, which):
    store.keys.add(key(1))

    assert store.keys.revoke(which, now=200) is None


def test_a_name_is_free_again_when_its_key_is_revoked(store):
    store.keys.add(key(1, name="nightly"))
    store.keys.revoke("nightly", now=200)
    store.keys.add(key(2, name="nightly"))

    assert store.keys.revoke("nightly", now=300).id == "key_2"


def test_an_id_wins_over_a_name_that_looks_like_it(store):
    store.keys.add(key(1))
    store.keys.add(key(2, name="key_1"))

    assert [found.id for found in store.keys.matching("key_1")] == ["key_1"]


def test_a_key_made_by_another_process_counts_at_once(store, tmp_path):
    other = Store(tmp_path / "bulkrate.db")
    other.keys.add(key(1))
    other.close()

    assert store.keys.project_of("digest-1") == "default"

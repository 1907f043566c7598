"""Leases: who is alive, and that the dead do not come back."""

from __future__ import annotations

import pytest

from bulkrate.errors import Fenced
from tests.store.records import NOW, a_worker, running
from tests.store.working import LEASE_S, claim, commit, counted, ends, want


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

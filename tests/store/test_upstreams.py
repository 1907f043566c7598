"""What is known of upstreams, and who drives them: one living worker each."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from bulkrate.errors import Fenced
from tests.store.records import NOW, a_worker

NAMES = ["a", "b", "c", "d"]


def test_free_upstreams_are_taken_in_their_order_and_up_to_a_number(store):
    one, other = a_worker(store), a_worker(store)
    assert store.upstreams.take(one, NAMES, most=3) == ["a", "b", "c"]
    assert store.upstreams.take(other, NAMES, most=3) == ["d"]
    assert store.upstreams.holders() == {"a": one, "b": one, "c": one, "d": other}


def test_of_many_workers_at_once_one_gets_it(store):
    workers = [a_worker(store) for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        taken = list(threads.map(lambda epoch: store.upstreams.take(epoch, NAMES, most=9), workers))
    assert sorted(taken) == [[]] * 7 + [NAMES]


def test_only_its_holder_lets_go_of_an_upstream(store):
    one, other = a_worker(store), a_worker(store)
    store.upstreams.take(one, ["a"], most=1)
    store.upstreams.release(other, "a")
    assert store.upstreams.holders() == {"a": one}
    store.upstreams.release(one, "a")
    assert store.upstreams.take(other, ["a"], most=1) == ["a"]


def test_the_dead_hold_no_upstream_and_take_none(store):
    one, other = a_worker(store), a_worker(store)
    store.upstreams.take(one, ["a"], most=1)
    store.upstreams.take(other, ["b"], most=1)
    store.work.bury(one)
    assert store.upstreams.holders() == {"b": other}
    with pytest.raises(Fenced):
        store.upstreams.take(one, ["a"], most=1)


def test_windows_that_proved_good_are_known_after_a_restart(store):
    assert store.upstreams.windows() == {}
    store.upstreams.record_windows("a", {"m": 40, "n": 8}, now=NOW)
    store.upstreams.record_windows("b", {"m": 1}, now=NOW)
    store.upstreams.record_windows("a", {"m": 48}, now=NOW + 1)
    store.upstreams.forget_all()
    assert store.upstreams.windows() == {"a": {"m": 48}, "b": {"m": 1}}

"""How many attempts may be in flight: cut once per overload, grown back while there is none."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bulkrate.core.window import Window


def test_a_window_begins_at_its_maximum():
    assert Window(256).limit == 256


def test_an_overload_cuts_what_was_in_flight_by_a_quarter():
    window = Window(256)
    window.busy(100, now=0.0)
    assert window.limit == 75


def test_all_refusals_of_one_overload_are_one_cut():
    window = Window(256)
    for now in (0.0, 0.5, 0.999):
        window.busy(256, now=now)
    assert window.limit == 192  # 256 * 0.75
    window.busy(192, now=1.0)
    assert window.limit == 144  # 192 * 0.75


def test_a_window_grows_by_one_after_as_many_answers_as_it_is_wide():
    window = Window(100)
    window.busy(14, now=0.0)
    assert window.limit == 10  # 14 * 0.75 = 10.5
    for _ in range(11):
        window.answered()
    assert window.limit == 11


def test_a_window_never_closes_and_always_recovers():
    window = Window(4)
    for now in range(100):
        window.busy(1, now=float(now))
        assert window.limit == 1
    for _ in range(20):
        window.answered()
    assert window.limit == 4


events = st.lists(st.one_of(st.none(), st.tuples(st.integers(1, 300), st.floats(0, 5))))


@given(st.integers(1, 300), events)
def test_a_window_stays_between_one_and_its_maximum(maximum, happened):
    window = Window(maximum)
    now = 0.0
    for event in happened:
        before = window.limit
        if event is None:
            window.answered()
            assert window.limit >= before
        else:
            now += event[1]
            window.busy(event[0], now=now)
            assert window.limit <= before
        assert 1 <= window.limit <= maximum

"""What sets a window, what cuts it, and that it is never closed."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.core.window import Mode, Window
from bulkrate.providers.engines import EngineLoad
from tests.core.window.upstream import Upstream


def answer(window: Window, *, count: int, now: float, over_s: float = 1.0) -> float:
    """`count` answers while the window is full, spread over some seconds; returns the time after them."""
    for _ in range(count):
        now += over_s / count
        window.answered(in_flight=window.limit, tokens=1.0, latency_s=0.1, first=True, now=now)
    return now


def test_a_configured_window_begins_at_its_maximum_and_is_never_probed():
    window = Window(maximum=100)
    upstream = Upstream(window, capacity=1000, service_s=1.0)
    upstream.run(5_000)
    assert (window.limit, upstream.widest, window.mode) == (100, 100, Mode.FIXED)
    assert window.known_good is None


def test_an_unconfigured_window_begins_narrow_or_where_an_earlier_one_was_good():
    assert (Window(maximum=None).limit, Window(maximum=None).mode) == (16, Mode.BLIND)
    assert Window(maximum=None, start=180).limit == 180
    assert Window(maximum=None, start=180).known_good == 180


def test_an_overload_cuts_what_was_in_flight_by_a_quarter():
    window = Window(maximum=256)
    window.busy(in_flight=100, now=0.0)
    assert window.limit == 75


def test_all_refusals_of_one_overload_are_one_cut():
    window = Window(maximum=256)
    for now in (0.0, 0.5, 0.999):
        window.busy(in_flight=256, now=now)
    assert window.limit == 192  # 256 * 0.75
    window.busy(in_flight=230, now=5.0)  # sent before the cut, and still draining
    assert window.limit == 192
    answer(window, count=100, now=5.0)
    window.busy(in_flight=192, now=6.5)
    assert window.limit == 144  # 192 * 0.75


def test_an_upstream_that_refuses_everything_is_cut_once_and_then_rarely():
    window = Window(maximum=256)
    for tenth in range(90):
        window.busy(in_flight=window.limit, now=tenth / 10)
    assert window.limit == 192


def test_a_configured_window_grows_back_to_its_maximum_and_no_further():
    window = Window(maximum=100)
    window.busy(in_flight=100, now=0.0)
    now = 0.0
    limits = []
    for _ in range(200):
        now = answer(window, count=window.limit, now=now, over_s=2.0)
        limits.append(window.limit)
    assert limits == sorted(limits)
    assert limits[-1] == 100


def test_near_the_width_that_was_refused_a_window_grows_by_steps_that_begin_small():
    window = Window(maximum=1000)
    window.busy(in_flight=400, now=0.0)
    now, widths = 0.0, [window.limit]
    while now < 30:
        now = answer(window, count=window.limit, now=now, over_s=2.0)
        widths.append(window.limit)
    near = [width for width in widths if width >= 360]  # 0.9 * 400
    shares = [after / before - 1 for before, after in itertools.pairwise(near) if after > before]
    assert shares[0] < 0.02
    assert shares == sorted(shares)
    assert shares[-1] < 0.11


def test_a_window_that_was_told_busy_may_be_narrower_than_it_would_look_for():
    window = Window(maximum=None)
    for now in range(0, 1000, 100):
        window.busy(in_flight=window.limit, now=float(now))
    assert window.limit == 1


@pytest.mark.parametrize("capacity", [20, 60, 150])
def test_a_blind_window_finds_what_a_server_works_on_at_once(capacity):
    upstream = Upstream(Window(maximum=None), capacity=capacity, service_s=1.0)
    upstream.run(200 * capacity)
    assert upstream.window.limit >= 0.95 * capacity
    assert upstream.window.known_good is not None


def test_a_blind_window_of_a_small_server_stays_narrow():
    upstream = Upstream(Window(maximum=None), capacity=2, service_s=1.0)
    upstream.run(3_000)
    assert upstream.window.limit >= 16
    assert upstream.widest <= 128


def test_a_blind_window_concludes_nothing_while_lines_are_short():
    upstream = Upstream(Window(maximum=None), capacity=500, service_s=1.0)
    upstream.demand = 8
    upstream.run(5_000)
    assert (upstream.window.limit, upstream.window.known_good) == (16, None)


def test_a_blind_window_follows_an_upstream_that_becomes_wider():
    upstream = Upstream(Window(maximum=None), capacity=32, service_s=1.0)
    upstream.run(5_000)
    upstream.capacity = 200
    upstream.run(60_000)
    assert upstream.window.limit >= 150


def test_answers_in_milliseconds_do_not_lead_a_window_astray():
    upstream = Upstream(Window(maximum=None), capacity=64, service_s=0.004, spread=1.0)
    upstream.run(300_000)
    assert upstream.window.limit >= 60


def test_an_interruption_is_not_taken_for_a_slow_upstream():
    upstream = Upstream(Window(maximum=None, start=100), capacity=100, service_s=1.0)
    upstream.run(1_000)
    before = upstream.window.limit
    upstream.now += 600
    upstream.window.interrupted(now=upstream.now)
    upstream.run(100)
    assert upstream.window.limit == before


def test_a_quota_names_the_mode_and_ends_the_search_for_narrower_windows():
    upstream = Upstream(Window(maximum=None), capacity=100, service_s=1.0)
    upstream.window.quota()
    assert upstream.window.mode is Mode.QUOTA
    upstream.run(2_000)
    before = upstream.window.limit
    upstream.run(30_000)
    assert upstream.window.limit >= before


def test_metrics_rule_as_long_as_they_are_fresh():
    window = Window(maximum=None)
    window.scraped(EngineLoad(running=16, waiting=0, kv_usage=0.01), in_flight=16, now=10.0)
    assert (window.mode, window.limit) == (Mode.METRICS, 32)
    window.scraped(None, in_flight=32, now=12.0)
    assert window.mode is Mode.METRICS
    window.scraped(None, in_flight=32, now=15.1)  # 5.1 s after the last
    assert (window.mode, window.limit) == (Mode.BLIND, 32)


def test_metrics_that_stop_without_a_word_are_stale_by_the_next_answers():
    window = Window(maximum=None)
    window.scraped(EngineLoad(running=16, waiting=0, kv_usage=0.01), in_flight=16, now=10.0)
    answer(window, count=100, now=20.0)
    assert window.mode is Mode.BLIND


def test_metrics_of_an_engine_that_does_not_have_our_requests_are_not_believed():
    window = Window(maximum=None)
    for now in range(10):
        window.scraped(EngineLoad(running=0, waiting=0, kv_usage=0.0), in_flight=16, now=10.0 + 1.5 * now)
    assert window.mode is Mode.BLIND


def test_metrics_do_not_overrule_a_refusal():
    window = Window(maximum=None)
    for now in (1.0, 2.0, 3.0):
        window.scraped(
            EngineLoad(running=window.limit, waiting=0, kv_usage=0.01), in_flight=window.limit, now=now
        )
    assert window.limit == 128
    window.busy(in_flight=128, now=4.0)
    window.scraped(EngineLoad(running=96, waiting=0, kv_usage=0.01), in_flight=96, now=5.0)
    assert window.limit == 96  # 128 * 0.75


def test_a_configured_window_is_cut_by_metrics_and_grows_back_no_further_than_configured():
    window = Window(maximum=64)
    window.scraped(EngineLoad(running=32, waiting=32, kv_usage=0.3), in_flight=64, now=1.0)
    assert window.limit == 34  # the 32 that run and the shortest queue
    now = 1.0
    for _ in range(40):
        now = answer(window, count=window.limit, now=now)
        window.scraped(
            EngineLoad(running=window.limit, waiting=0, kv_usage=0.3), in_flight=window.limit, now=now
        )
    assert window.limit == 64


def test_a_shared_window_takes_little_until_it_knows_of_the_others():
    window = Window(maximum=None, target_running=64)
    assert (window.limit, window.mode) == (16, Mode.SHARED)


def test_a_shared_window_is_what_the_others_leave():
    window = Window(maximum=None, target_running=64)
    now = 0.0
    for _ in range(30):
        now += 1.5
        window.scraped(EngineLoad(running=window.limit, waiting=0), in_flight=window.limit, now=now)
    assert window.limit == 64
    window.scraped(EngineLoad(running=100, waiting=4), in_flight=64, now=now + 1)  # 40 of others
    assert window.limit == 24
    window.scraped(EngineLoad(running=200, waiting=100), in_flight=24, now=now + 2)
    assert window.limit == 1
    window.scraped(EngineLoad(running=1, waiting=0), in_flight=1, now=now + 3)
    assert window.limit == 4  # it comes back by a twentieth of 64 at a time
    assert window.known_good is None


def test_a_shared_window_without_metrics_errs_low():
    window = Window(maximum=None, target_running=64)
    for now in range(30):
        window.scraped(EngineLoad(running=window.limit, waiting=0), in_flight=window.limit, now=float(now))
    window.scraped(None, in_flight=64, now=40.0)
    assert window.limit == 16


loads = st.builds(
    EngineLoad,
    running=st.integers(0, 10_000),
    waiting=st.integers(0, 10_000),
    kv_usage=st.none() | st.floats(0, 1),
    preemptions=st.none() | st.integers(0, 1000),
)
events = st.lists(
    st.one_of(
        st.tuples(st.just("answered"), st.integers(1, 400)),
        st.tuples(st.just("busy"), st.integers(1, 10_000)),
        st.tuples(st.just("scraped"), st.none() | loads),
        st.tuples(st.sampled_from(["quota", "interrupted"]), st.none()),
    ),
    max_size=60,
)


@given(
    st.none() | st.integers(1, 2000),
    st.none() | st.integers(1, 2000),
    st.none() | st.integers(1, 500),
    events,
)
def test_whatever_happens_a_window_stays_between_one_and_its_maximum(maximum, start, target, happened):
    window = Window(maximum=maximum, start=start, target_running=target)
    now = 50.0
    for what, value in happened:
        now += 0.7
        if what == "answered":
            now = answer(window, count=value, now=now)
        elif what == "busy":
            window.busy(in_flight=value, now=now)
        elif what == "scraped":
            window.scraped(value, in_flight=window.limit, now=now)
        elif what == "quota":
            window.quota()
        else:
            window.interrupted(now=now)
        assert 1 <= window.limit <= (maximum or 8192)
        if target is not None:
            assert window.limit <= target
        assert window.known_good is None or 1 <= window.known_good <= 8192


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1000)), min_size=200, max_size=600))
def test_odd_tokens_and_latencies_are_survived(answers):
    window = Window(maximum=None)
    now = 1000.0
    for tokens, latency_s in answers:
        now += 0.05
        window.answered(in_flight=window.limit, tokens=tokens, latency_s=latency_s, first=True, now=now)
        assert 1 <= window.limit <= 8192

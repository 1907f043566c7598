"""Who gets how much: shares that add up, and claims that neither run dry nor sit on lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.core.shares import LINES_FIRST, LINES_MAX, Stock, portions, upstreams_of


@given(upstreams=st.integers(0, 50), workers=st.integers(1, 20))
def test_while_all_live_the_shares_add_up(upstreams, workers):
    shares = [
        upstreams_of(worker, upstreams=upstreams, workers=workers, living=workers)
        for worker in range(workers)
    ]
    assert sum(shares) == upstreams
    assert max(shares) - min(shares) <= 1


@given(upstreams=st.integers(0, 50), workers=st.integers(1, 20), dead=st.integers(0, 20))
def test_whoever_lives_can_drive_them_all(upstreams, workers, dead):
    living = max(1, workers - dead)
    share = min(
        upstreams_of(worker, upstreams=upstreams, workers=workers, living=living) for worker in range(workers)
    )
    assert share * living >= upstreams or living == workers


@pytest.mark.parametrize(
    ("lines", "rate", "ahead", "low"),
    [
        (0, 0.0, 1, True),
        (1, 0.0, 1, False),
        (0, 0.1, 1, True),  # one line at a time, however slow
        (500, 1_000.0, 1_000, False),
        (499, 1_000.0, 1_000, True),
        (5_000, 30_000.0, LINES_MAX, False),
        (4_999, 30_000.0, LINES_MAX, True),
    ],
)
def test_a_load_runs_low_with_half_a_second_left(lines, rate, ahead, low):
    stock = Stock(lines, rate, waiting=False)
    assert (stock.ahead, stock.low) == (ahead, low)
    assert stock.low == (stock.lines <= stock.low_mark)


EMPTY = Stock(0, 0.0, waiting=False)


def test_a_first_claim_fills_the_room_and_a_little_more():
    assert portions([EMPTY], room=0) == [LINES_FIRST]
    assert portions([EMPTY], room=256) == [LINES_FIRST + 256]
    assert portions([EMPTY] * 4, room=256) == [LINES_FIRST // 4 + 64] * 4


def test_a_load_that_is_stocked_gets_nothing():
    assert portions([Stock(600, 1_000.0, waiting=False)], room=0) == [0]


def test_a_load_that_runs_low_gets_a_seconds_worth():
    assert portions([Stock(400, 1_000.0, waiting=False)], room=0) == [600]
    assert portions([Stock(10, 20_000.0, waiting=False)], room=0) == [LINES_MAX - 10]


def test_a_slow_load_gets_a_line_at_a_time():
    assert portions([Stock(0, 0.1, waiting=False)], room=0) == [1]


def test_beside_few_others_a_load_that_never_had_lines_gets_its_part_of_a_seconds_work():
    assert portions([Stock(20, 32.0, waiting=False), EMPTY], room=0) == [0, LINES_FIRST]


def test_with_many_loads_they_are_served_in_turns_those_first_that_waited_longest():
    moving = [Stock(1, 1.0, waiting=True)] * 30
    waiting = [EMPTY] * 100
    claims = portions(moving + waiting, room=0)
    assert sum(claims) == 0  # a second's work waits already
    claims = portions(moving[:10] + waiting + [Stock(0, 20.0, waiting=False)], room=0)
    assert claims[10:31] == [1] * 20 + [0]


@given(
    stocks=st.lists(
        st.builds(Stock, st.integers(0, 20_000), st.floats(0, 30_000), st.booleans()), min_size=1, max_size=60
    ),
    room=st.integers(0, 2_000),
)
def test_nobody_runs_dry_and_nobody_hoards(stocks, room):
    claims = portions(stocks, room=room)
    assert len(claims) == len(stocks)
    assert all(0 <= lines <= LINES_MAX for lines in claims)
    assert all(stock.low or not lines for stock, lines in zip(stocks, claims, strict=True))
    low = [stock for stock in stocks if stock.low]
    if low and not any(stock.lines for stock in stocks) and not any(stock.waiting for stock in stocks):
        assert sum(claims) >= min(room, LINES_MAX)
    hoard = sum(stock.ahead for stock in low) + room + LINES_FIRST * len(stocks) + len(stocks)
    assert sum(claims) <= hoard

"""What is delegated, in what portions, and what is done when time is up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.core.delegation import (
    Group,
    OnLate,
    Room,
    Terms,
    Wish,
    estimated_tokens,
    is_delegated,
    last_chance,
    pause_s,
    wish,
)
from bulkrate.core.lifecycle import Status

DAY = 86_400
END = 100_000.0


def terms(on_late: OnLate = OnLate.EXPIRE) -> Terms:
    return Terms(from_window_s=DAY, on_late=on_late, late_s=3_600)


@pytest.mark.parametrize(
    ("window_s", "served_online", "on_late", "before_s", "delegated"),
    [
        (DAY, True, OnLate.EXPIRE, 10_000, True),
        (DAY, True, OnLate.EXPIRE, 10, True),
        (DAY - 1, True, OnLate.EXPIRE, 10_000, False),  # whoever asks for less wants it sooner
        (DAY - 1, False, OnLate.EXPIRE, 10_000, True),  # there is nobody else
        (DAY, True, OnLate.ONLINE, 3_601, True),
        (DAY, True, OnLate.ONLINE, 3_600, False),
        (DAY, False, OnLate.ONLINE, 3_600, True),
    ],
)
def test_lines_go_where_the_window_says(window_s, served_online, on_late, before_s, delegated):
    found = is_delegated(
        terms(on_late), window_s=window_s, served_online=served_online, now=END - before_s, expires_at=END
    )
    assert found is delegated


@pytest.mark.parametrize(
    ("status", "on_late", "served_online", "before_s", "wanted"),
    [
        (Status.IN_PROGRESS, OnLate.EXPIRE, True, 1, Wish.GO_ON),
        (Status.IN_PROGRESS, OnLate.ONLINE, True, 3_601, Wish.GO_ON),
        (Status.IN_PROGRESS, OnLate.ONLINE, True, 3_600, Wish.STOP),
        (Status.IN_PROGRESS, OnLate.ONLINE, False, 1, Wish.GO_ON),
        (Status.FINALIZING, OnLate.EXPIRE, True, -1, Wish.STOP),
        (Status.FINALIZING, OnLate.ONLINE, True, -1, Wish.STOP),
        (Status.FINALIZING, OnLate.WAIT, True, -1, Wish.GO_ON),
        (Status.CANCELLING, OnLate.WAIT, True, 10_000, Wish.STOP),
    ],
)
def test_a_remote_batch_goes_on_as_long_as_ours_wants_it(status, on_late, served_online, before_s, wanted):
    found = wish(status, terms(on_late), served_online=served_online, now=END - before_s, expires_at=END)
    assert found is wanted


@given(
    sizes=st.lists(st.integers(1, 300), max_size=60),
    lines=st.integers(1, 10),
    bytes_=st.integers(100, 400),
    tokens=st.none() | st.integers(1, 100),
    inputs=st.none() | st.integers(1, 8),
    between=st.integers(0, 2),
)
def test_a_group_never_outgrows_its_room(sizes, lines, bytes_, tokens, inputs, between):
    room = Room(lines=lines, bytes=bytes_, tokens=tokens, inputs=inputs)
    group, taken = Group(room, between=between), []
    for size in sizes:
        cost = {"tokens": estimated_tokens(size), "inputs": 1}
        if not group.takes(size, **cost):
            break
        group.add(size, **cost)
        taken.append(size)
    assert group.lines == len(taken)
    assert group.bytes == sum(taken) + between * max(0, len(taken) - 1)
    assert group.bytes <= bytes_
    if len(taken) > 1:
        assert len(taken) <= lines
        assert tokens is None or group.tokens <= tokens
        assert inputs is None or group.inputs <= inputs


def test_a_line_alone_goes_out_whatever_we_think_of_its_tokens():
    group = Group(Room(lines=10, bytes=1_000, tokens=1), between=1)
    assert group.takes(400, tokens=100, inputs=1)
    group.add(400, tokens=100, inputs=1)
    assert not group.takes(4, tokens=1, inputs=1)


def test_a_line_alone_waits_for_the_room_that_it_takes():
    group = Group(Room(lines=10, bytes=1_000, tokens=1, alone=50), between=1)
    assert not group.takes(400, tokens=51, inputs=1)
    assert group.takes(400, tokens=50, inputs=1)


def test_a_line_of_too_many_bytes_never_fits():
    assert not Group(Room(lines=10, bytes=1_000), between=1).takes(1_001, tokens=1, inputs=1)


@pytest.mark.parametrize(
    ("pauses", "jitter", "seconds"),
    [
        (0, 0.0, 15),
        (0, 0.5, 13.125),  # 15 * (1 - 0.5 / 4)
        (2, 0.0, 33.75),  # 15 * 1.5**2
        (9, 0.0, 576.650390625),  # 15 * 1.5**9
        (10, 0.0, 600),  # capped: 15 * 40
        (10**6, 0.0, 600),
    ],
)
def test_looks_become_rarer_up_to_a_cap(pauses, jitter, seconds):
    assert pause_s(pauses, first_s=15, jitter=jitter) == seconds


@pytest.mark.parametrize(("generation", "last"), [(1, False), (2, False), (3, True), (4, True)])
def test_a_line_is_part_of_so_many_remote_batches_and_no_more(generation, last):
    assert last_chance(generation, 3) is last

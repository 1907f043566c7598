"""Equal shares: no lane has two lines more in flight than another that is ready."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from bulkrate.core.turns import _KEEPING_MAX, _STALE_MAX, Turns


@dataclass(eq=False)
class Lane:
    name: str
    lines: int = 1_000_000
    in_flight: int = 0
    expects: bool = False

    def take(self) -> None:
        assert self.lines
        self.lines -= 1
        self.in_flight += 1


def turns_of(*lanes: Lane) -> Turns[Lane]:
    turns: Turns[Lane] = Turns(
        lambda lane: lane.in_flight, lambda lane: lane.lines > 0, lambda lane: lane.expects
    )
    for lane in lanes:
        turns.enter(lane)
    return turns


def fill(turns: Turns[Lane], slots: int) -> list[str]:
    """Who is given each slot, in order."""
    given_to = []
    for _ in range(slots):
        lane = turns.best()
        if lane is None:
            break
        lane.take()
        turns.enter(lane)
        given_to.append(lane.name)
    return given_to


@given(st.integers(1, 12), st.integers(0, 100))
def test_ready_lanes_never_differ_by_more_than_one_line_in_flight(lanes, slots):
    all_lanes = [Lane(str(number)) for number in range(lanes)]
    fill(turns_of(*all_lanes), slots)
    in_flight = [lane.in_flight for lane in all_lanes]
    assert sum(in_flight) == slots
    assert max(in_flight) - min(in_flight) <= 1


@given(st.lists(st.integers(0, 30), min_size=1, max_size=8), st.integers(0, 150))
def test_what_small_lanes_leave_is_shared_by_the_others(sizes, slots):
    all_lanes = [Lane(str(number), lines=size) for number, size in enumerate(sizes)]
    fill(turns_of(*all_lanes), slots)
    assert sum(lane.in_flight for lane in all_lanes) == min(slots, sum(sizes))
    unfinished = [lane.in_flight for lane in all_lanes if lane.lines]
    assert all(lane.in_flight <= min(unfinished, default=slots) + 1 for lane in all_lanes)


@given(st.data(), st.integers(2, 6))
def test_shares_even_out_again_after_any_answers(data, lanes):
    all_lanes = [Lane(str(number)) for number in range(lanes)]
    turns = turns_of(*all_lanes)
    fill(turns, 40)
    for lane in all_lanes:  # answers come in any order; nobody tells the turns
        lane.in_flight -= data.draw(st.integers(0, lane.in_flight))
    for lane in data.draw(st.permutations(all_lanes)):
        turns.enter(lane)
    missing = 100 - sum(lane.in_flight for lane in all_lanes)
    fill(turns, missing)
    in_flight = [lane.in_flight for lane in all_lanes]
    assert max(in_flight) - min(in_flight) <= 1


def test_a_slow_lane_does_not_take_the_slots_of_a_fast_one():
    # A batch of a slow model had all slots when one of a fast model came. It got them all back, and the fast
    # one waited for it: its place in the order was that of the most lines it had ever had in flight.
    slow, fast = Lane("slow"), Lane("fast")
    turns = turns_of(slow)
    fill(turns, 100)
    turns.enter(fast)
    for lane in [slow] * 100 + [fast] * 300:
        lane.in_flight -= 1
        turns.landed(lane)
        fill(turns, 1)
    assert slow.in_flight == fast.in_flight == 50


def test_a_lane_that_left_does_not_come_back_by_landing():
    lane = Lane("one")
    turns = turns_of(lane)
    fill(turns, 2)
    turns.leave(lane)
    lane.in_flight -= 1
    turns.landed(lane)
    assert turns.best() is None


def test_a_lane_that_comes_late_is_served_first():
    big = Lane("big")
    turns = turns_of(big)
    fill(turns, 10)
    late = Lane("late")
    turns.enter(late)
    assert fill(turns, 5) == ["late"] * 5


def test_among_equals_whoever_waited_longest():
    assert fill(turns_of(Lane("a"), Lane("b"), Lane("c")), 6) == ["a", "b", "c", "a", "b", "c"]


def test_a_lane_that_left_is_not_offered_until_it_enters_again():
    one, other = Lane("one"), Lane("other")
    turns = turns_of(one, other)
    turns.leave(one)
    assert fill(turns, 2) == ["other", "other"]
    turns.enter(one)
    assert turns.best() is one


def test_a_lane_without_lines_leaves_by_itself():
    lane = Lane("one", lines=0)
    turns = turns_of(lane)
    assert turns.best() is None
    lane.lines = 1
    assert turns.best() is None  # it has to enter again
    turns.enter(lane)
    assert turns.best() is lane


def test_a_lane_that_ran_dry_keeps_the_slots_it_had_until_it_enters_again():
    # A model that answers at once lost its slots to a slow one each time more of its lines were fetched.
    fast, slow = Lane("fast", lines=20, expects=True), Lane("slow")
    turns = turns_of(fast, slow)
    fill(turns, 64)
    assert (fast.in_flight, turns.kept) == (20, 0)
    fast.in_flight = 3
    assert turns.kept == 17
    fast.lines = 5
    turns.enter(fast)
    assert turns.kept == 0
    assert fill(turns, 5) == ["fast"] * 5


def test_a_lane_that_ran_dry_keeps_nothing_when_nothing_will_come_or_it_has_waited_long_enough():
    ended, slow = Lane("ended", lines=20), Lane("slow")
    turns = turns_of(ended, slow)
    fill(turns, 64)
    ended.in_flight = 0
    assert turns.kept == 0
    fast = Lane("fast", lines=1, expects=True)
    turns.enter(fast)
    fill(turns, 2)
    fast.in_flight = 0
    assert turns.kept == 1
    turns.keep_none()
    assert turns.kept == 0


def test_a_lane_that_ran_dry_and_left_keeps_nothing():
    fast, slow = Lane("fast", lines=20, expects=True), Lane("slow")
    turns = turns_of(fast, slow)
    fill(turns, 64)
    fast.in_flight = 0
    turns.leave(fast)
    assert turns.kept == 0


def test_among_many_lanes_nothing_is_kept():
    many = [Lane(str(number), lines=1, expects=True) for number in range(_KEEPING_MAX + 5)]
    turns = turns_of(*many, *(Lane(f"long {number}") for number in range(_KEEPING_MAX)))
    fill(turns, 100)
    for lane in many:
        lane.in_flight = 0
    assert turns.kept == 0


@given(st.lists(st.integers(0, 30), min_size=2, max_size=6), st.integers(1, 100), st.data())
def test_no_more_is_kept_than_has_landed_of_those_that_ran_dry(sizes, slots, data):
    lanes = [Lane(str(number), lines=size, expects=True) for number, size in enumerate(sizes)]
    turns = turns_of(*lanes)
    fill(turns, slots)
    landed = 0
    for lane in lanes:
        lost = data.draw(st.integers(0, lane.in_flight))
        lane.in_flight -= lost
        landed += lost if not lane.lines else 0
    assert 0 <= turns.kept <= landed


def test_asking_who_is_best_changes_nothing():
    turns = turns_of(Lane("a"), Lane("b"))
    assert [turns.best().name for _ in range(3)] == ["a", "a", "a"]


def test_entering_again_and_again_while_nobody_asks_takes_no_memory():
    # An upstream that is out is offered every line that comes back, and asks for none.
    lanes = [Lane(str(number)) for number in range(3)]
    turns = turns_of(*lanes)
    for _ in range(10_000):
        for lane in lanes:
            turns.enter(lane)
    assert len(turns._heap) <= _STALE_MAX + 2 * 3
    assert fill(turns, 3) == ["0", "1", "2"]

"""A load on its way: no line is lost or sent twice, whatever comes back."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bulkrate.core.outcome import Answer, Answered
from bulkrate.dispatch import Lane, Work
from bulkrate.dispatch import lane as module

DONE = Answered(Answer(200, b"{}"))


class Lines:
    """A load of so many lines, that notes what becomes of them."""

    model = "m"
    endpoint = "/v1/chat/completions"

    def __init__(self, count: int) -> None:
        self.waiting = list(range(count))
        self.settled: list[int] = []
        self.emptied_at = 0
        self.more = False

    def take(self) -> Work | None:
        return Work(self.waiting.pop(0)) if self.waiting else None

    def body(self, work: Work) -> bytes:
        return b"{}"

    def settle(self, work: Work, outcome) -> None:
        self.settled.append(work.line)

    def emptied(self) -> None:
        self.emptied_at += 1


def test_lines_come_in_the_order_of_the_load():
    lane = Lane(Lines(3))
    assert [lane.take().line for _ in range(3)] == [0, 1, 2]
    assert not lane.ready
    assert not lane.empty  # three are in flight


def test_a_lane_without_lines_is_empty_at_once():
    lane = Lane(Lines(0))
    assert lane.empty
    assert not lane.ready


def test_a_line_that_is_put_back_goes_before_new_ones():
    lane = Lane(Lines(2))
    work = lane.take()
    lane.put_back(work)
    assert lane.take() is work
    assert lane.take().line == 1


def test_a_line_that_waits_keeps_the_lane_from_being_empty_but_is_not_ready():
    lane = Lane(Lines(1))
    work = lane.take()
    lane.wait("why")
    assert (lane.ready, lane.empty, lane.in_flight) == (False, False, 0)
    lane.put_by(work)
    assert lane.ready
    assert lane.take() is work


def test_asking_whether_it_is_ready_takes_no_line_away():
    load = Lines(1)
    lane = Lane(load)
    assert all(lane.ready for _ in range(5))
    assert lane.take().line == 0


def test_a_lane_expects_lines_while_its_load_does_and_it_is_open():
    load = Lines(0)
    lane = Lane(load)
    assert not lane.expects
    load.more = True
    assert lane.expects
    lane.close()
    assert not lane.expects


def test_a_closed_lane_gives_nothing_and_is_empty_when_all_has_landed():
    lane = Lane(Lines(3))
    first = lane.take()
    lane.put_back(lane.take())
    lane.close()
    assert not lane.ready
    assert not lane.empty
    lane.settle(first, DONE)
    assert lane.empty


def test_with_too_many_lines_waiting_no_new_one_is_taken(monkeypatch):
    monkeypatch.setattr(module, "_RETRIES_MAX", 2)
    lane = Lane(Lines(5))
    works = [lane.take() for _ in range(2)]
    for _ in works:
        lane.wait("why")
    assert not lane.ready
    assert not lane.empty
    lane.put_by(works[0])
    assert lane.take() is works[0]
    assert lane.ready  # one waits, and there is room for one more


class Life(RuleBasedStateMachine):
    """Whatever becomes of the lines, in any order."""

    def __init__(self):
        super().__init__()
        self.load = Lines(6)
        self.lane = Lane(self.load)
        self.flying: list[Work] = []
        self.resting: list[Work] = []

    @rule()
    def take(self):
        if not self.lane.ready:
            return
        work = self.lane.take()
        work.tries += 1
        assert work.line not in [other.line for other in self.flying + self.resting]
        assert work.line not in self.load.settled
        self.flying.append(work)

    @precondition(lambda self: self.flying)
    @rule(which=st.integers(0, 5), end=st.sampled_from(["settle", "put back", "wait"]))
    def lands(self, which, end):
        work = self.flying.pop(which % len(self.flying))
        if end == "settle":
            self.lane.settle(work, DONE)
        elif end == "put back":
            self.lane.put_back(work)
        else:
            self.lane.wait("why")
            self.resting.append(work)

    @precondition(lambda self: self.resting)
    @rule()
    def has_rested(self):
        self.lane.put_by(self.resting.pop())

    @invariant()
    def every_line_is_somewhere(self):
        assert self.lane.in_flight == len(self.flying)
        settled = len(self.load.settled)
        assert len(set(self.load.settled)) == settled
        assert self.lane.empty == (settled == 6)
        left = 6 - settled - len(self.flying) - len(self.resting)
        assert self.lane.ready == (left > 0)


test_no_line_is_lost_or_sent_twice = Life.TestCase

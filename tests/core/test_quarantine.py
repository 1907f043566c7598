"""The line that kills its upstream is found, and nobody else is blamed."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from bulkrate.core.quarantine import Quarantine, Turn


class Upstream:
    """Runs what the quarantine says; dies of `poison`, or with the groups whose number is in `dies_at`."""

    def __init__(
        self, poison: set[int] = frozenset(), dies_at: set[int] = frozenset(), width: int = 1_000
    ) -> None:
        self.poison = poison
        self.dies_at = dies_at
        self.width = width
        self.deaths = 0
        self.rounds = 0
        self.answered: list[int] = []
        self.cleared: list[int] = []
        self.convicted: list[int] = []
        self.quarantine: Quarantine[int] = Quarantine(
            clear=self.cleared.append, convict=self.convicted.append
        )

    def die_of(self, lines: list[int]) -> None:
        self.deaths += 1
        self.quarantine.suspect(lines)

    def run(self, *, control: bool = True, control_dies: bool = False) -> None:
        for _ in range(10_000):
            if not self.quarantine:
                return
            self.rounds += 1
            if self.quarantine.turn is Turn.CONTROL:
                self._run_control(control, control_dies)
            else:
                self._run_group()
        raise AssertionError("it does not end")

    def _run_control(self, there_is_one: bool, dies: bool) -> None:
        if not there_is_one:
            self.quarantine.no_control()
            return
        self.quarantine.send_control()
        assert self.quarantine.turn is Turn.NOBODY
        if dies:
            self.deaths += 1
            self.quarantine.died()
        else:
            self.quarantine.control_came_back()

    def _run_group(self) -> None:
        sent = []
        while self.quarantine.turn is Turn.SUSPECT and len(sent) < self.width:
            sent.append(self.quarantine.send())
        assert sent, "nobody may be sent, and nobody is in flight"
        if self.poison & set(sent) or self.rounds in self.dies_at:
            self.deaths += 1
            self.quarantine.died()
            return
        for line in sent:
            self.answered.append(line)
            self.quarantine.came_back(line)


@given(count=st.integers(1, 600), data=st.data(), width=st.sampled_from([1, 3, 1_000]), control=st.booleans())
def test_one_culprit_is_found_within_log2_of_the_lines_and_two_deaths(count, data, width, control):
    culprit = data.draw(st.integers(0, count - 1))
    upstream = Upstream({culprit}, width=width)
    upstream.die_of(list(range(count)))
    upstream.run(control=control)
    assert upstream.convicted == [culprit]
    assert sorted(upstream.answered + upstream.cleared) == [line for line in range(count) if line != culprit]
    assert upstream.deaths <= math.ceil(math.log2(count)) + 2


@given(count=st.integers(1, 300))
def test_without_a_culprit_everybody_is_answered_in_two_groups(count):
    upstream = Upstream()
    upstream.die_of(list(range(count)))
    upstream.run()
    assert sorted(upstream.answered) == list(range(count))
    assert upstream.rounds <= 2
    assert not upstream.convicted


@given(
    count=st.integers(1, 200),
    poison=st.sets(st.integers(0, 199), max_size=5),
    dies_at=st.sets(st.integers(1, 30)),
)
def test_nobody_is_lost_whoever_kills_and_whatever_dies_by_itself(count, poison, dies_at):
    upstream = Upstream(poison, dies_at)
    upstream.die_of(list(range(count)))
    upstream.run()
    everybody = upstream.answered + upstream.cleared + upstream.convicted
    assert sorted(everybody) == list(range(count))


@given(count=st.integers(1, 200))
def test_an_upstream_that_dies_of_a_line_above_suspicion_too_clears_everybody(count):
    upstream = Upstream(set(range(count)))
    upstream.die_of(list(range(count)))
    upstream.run(control_dies=True)
    assert not upstream.convicted
    assert sorted(upstream.answered + upstream.cleared) == list(range(count))


def test_a_line_that_died_alone_once_and_came_back_is_innocent():
    upstream = Upstream(dies_at={1})
    upstream.die_of([7])
    upstream.run()
    assert upstream.answered == [7]
    assert not upstream.convicted


def test_a_suspect_that_never_reached_the_upstream_is_sent_again():
    upstream = Upstream()
    upstream.die_of([1, 2])
    line = upstream.quarantine.send()
    upstream.quarantine.not_sent(line)
    upstream.run()
    assert sorted(upstream.answered) == [1, 2]


@given(count=st.integers(2, 50), data=st.data())
def test_suspects_that_nobody_wants_any_more_are_forgotten(count, data):
    unwanted = data.draw(st.sets(st.integers(0, count - 1)))
    upstream = Upstream()
    upstream.die_of(list(range(count)))
    first = upstream.quarantine.send()
    upstream.quarantine.drop(unwanted.__contains__)
    upstream.quarantine.came_back(first)
    upstream.run()
    assert set(upstream.answered) == set(range(count)) - unwanted - {first}

"""The two compact indexes and the set of lines, each against the simplest thing that does the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bulkrate.core.plan import (
    PLANNED_BYTES,
    SETTLED_BYTES,
    Fate,
    LineSet,
    Planned,
    Settled,
    digest_of,
    find_planned,
    find_settled,
    read_ledger,
    read_plan,
    write_planned,
    write_settled,
)

U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
planned = st.builds(Planned, U64, U32, U32, U64)
settled = st.tuples(U32, st.sampled_from(Fate), U64, U32)
# Small and repetitive, so that the bytes sought also stand where they do not count.
narrow = st.sampled_from([0, 1, 256, 65_536, 2**24, 0x0101])
few_planned = st.lists(st.builds(Planned, narrow, narrow, narrow, narrow))
few_settled = st.lists(st.tuples(narrow, st.sampled_from(Fate), narrow, narrow))


@given(st.lists(planned))
def test_a_plan_reads_back_as_it_was_written(records):
    data = b"".join(map(write_planned, records))
    assert len(data) == len(records) * PLANNED_BYTES
    assert list(read_plan(data)) == records


@given(st.lists(settled))
def test_a_ledger_reads_back_as_it_was_written(records):
    data = b"".join(write_settled(*record) for record in records)
    assert len(data) == len(records) * SETTLED_BYTES
    assert list(read_ledger(data)) == records


def test_the_records_have_the_sizes_that_reading_in_pieces_counts_on():
    assert (PLANNED_BYTES, SETTLED_BYTES) == (24, 20)


@given(few_planned, narrow)
def test_finding_a_planned_line_is_a_linear_search(records, digest):
    data = b"".join(map(write_planned, records))
    assert find_planned(data, digest) == next((r for r in records if r.digest == digest), None)


@given(few_settled, narrow)
def test_finding_a_settled_line_is_a_linear_search(records, line):
    data = b"".join(write_settled(*record) for record in records)
    assert find_settled(data, line) == next((Settled(*r) for r in records if r[0] == line), None)


@given(st.text(), st.text())
def test_different_ids_have_different_digests(one, other):
    assert (digest_of(one) == digest_of(other)) == (one == other)


@pytest.mark.parametrize("custom_id", ["", "é", "\ud800", "a" * 10_000])
def test_any_string_has_a_digest_of_64_bits(custom_id):
    assert 0 <= digest_of(custom_id) < 2**64


@pytest.mark.parametrize(
    ("fate", "in_output", "counts_as_failed"),
    [
        (Fate.ANSWERED, True, False),
        (Fate.FAILED, False, True),
        (Fate.REJECTED, False, True),
        (Fate.NEVER_RAN, False, False),  # in no count, as at OpenAI
    ],
)
def test_what_a_fate_means(fate, in_output, counts_as_failed):
    assert (fate.in_output, fate.counts_as_failed) == (in_output, counts_as_failed)


lines = st.integers(0, 100_000)


class LineSets(RuleBasedStateMachine):
    """Two sets of lines, and two sets of Python that must agree with them."""

    def __init__(self):
        super().__init__()
        self.real = [LineSet(), LineSet()]
        self.model: list[set[int]] = [set(), set()]

    @rule(which=st.integers(0, 1), line=lines)
    def add(self, which, line):
        self.real[which].add(line)
        self.model[which].add(line)

    @rule(
        which=st.integers(0, 1),
        outcomes=st.lists(st.tuples(lines, st.sampled_from(Fate))),
        only=st.none() | st.sampled_from(Fate),
    )
    def add_a_ledger(self, which, outcomes, only):
        ledger = b"".join(write_settled(line, fate, 0, 0) for line, fate in outcomes)
        self.real[which].add_settled(ledger, only=only)
        self.model[which] |= {line for line, fate in outcomes if only in (None, fate)}

    @rule(into=st.integers(0, 1))
    def join(self, into):
        self.real[into] |= self.real[1 - into]
        self.model[into] |= self.model[1 - into]

    @rule(line=lines)
    def ask(self, line):
        for real, model in zip(self.real, self.model, strict=True):
            assert (line in real) == (line in model)

    @invariant()
    def agrees(self):
        for real, model in zip(self.real, self.model, strict=True):
            assert len(real) == len(model)
            assert all(line in real for line in model)


test_a_set_of_lines_is_a_set = LineSets.TestCase


def test_a_set_joined_with_another_leaves_the_other_alone():
    one, other = LineSet(), LineSet()
    one.add(5)
    other.add(70_000)
    one |= other
    one.add(6)
    assert 6 not in other
    assert len(other) == 1


def test_ten_million_lines_take_little_more_than_a_megabyte():
    lines = LineSet()
    lines.add(10_000_000)
    assert len(lines._bits) < 1_300_000

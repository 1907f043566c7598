"""Every line whose id stood before is found, whatever the digests, the order and the share of memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.core import duplicates
from bulkrate.core.duplicates import DuplicateFinder
from bulkrate.core.plan import Planned

# Few digests, that share bits of one another: in a small field most lines look like repetitions.
bits = st.sampled_from([0, 1, 2, 3, 7])
digests = st.lists(st.builds(lambda low, high: low | high << 32, bits, bits), max_size=60)


def find(digests: list[int], order=None, *, tiny: bool = False) -> set[tuple[int, int]]:
    """Repeating line and first line, of a file whose line n has the n-th digest."""
    finder = DuplicateFinder(len(digests))
    if tiny:
        finder._mask, finder._seen, finder._again = 7, bytearray(1), bytearray(1)
    plan = [Planned(0, 0, line, digest) for line, digest in enumerate(digests, 1)]
    for record in plan:
        finder.watch(record.digest)
    shuffled = plan if order is None else sorted(plan, key=lambda record: order[record.line % len(order)])
    found = [(record.line, first) for record, first in finder.duplicates(lambda: iter(shuffled))]
    assert len(found) == len(set(found))
    return set(found)


def naive(digests: list[int]) -> set[tuple[int, int]]:
    first: dict[int, int] = {}
    return {
        (line, first[digest])
        for line, digest in enumerate(digests, 1)
        if first.setdefault(digest, line) != line
    }


@given(digests)
def test_what_is_found_is_what_comparing_all_lines_finds(digests):
    assert find(digests) == naive(digests)


@given(digests)
def test_lines_that_only_look_alike_in_the_bits_are_not_blamed(digests):
    assert find(digests, tiny=True) == naive(digests)


@given(digests, st.lists(st.integers(0, 5), min_size=1))
def test_the_plan_may_be_read_back_in_another_order(digests, order):
    assert find(digests, order) == naive(digests)


@pytest.fixture(scope="module")
def _one_at_once():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "_COMPARED_AT_ONCE", 1)
        yield


@pytest.mark.usefixtures("_one_at_once")
@given(digests)
def test_comparing_a_small_share_at_a_time_finds_the_same(digests):
    assert find(digests) == naive(digests)
    assert find(digests, tiny=True) == naive(digests)


@pytest.mark.usefixtures("_one_at_once")
def test_one_id_a_thousand_times_is_one_suspect():
    # It was once a thousand suspects: the plan was read again for each share of them, all in one share.
    reads = 0

    def plan():
        nonlocal reads
        reads += 1
        return (Planned(0, 0, line, 42) for line in range(1, 1_001))

    finder = DuplicateFinder(1_000)
    for record in plan():
        finder.watch(record.digest)
    found = list(finder.duplicates(plan))
    assert [(record.line, first) for record, first in found] == [(line, 1) for line in range(2, 1_001)]
    assert reads <= 1 + 2 * 3


def test_a_file_without_a_repetition_is_not_read_again():
    finder = DuplicateFinder(3)
    for digest in (1, 2, 3):
        finder.watch(digest)
    assert list(finder.duplicates(lambda: pytest.fail("the plan was read"))) == []


def test_the_bit_fields_are_bounded_for_any_file():
    assert len(DuplicateFinder(10**12)._seen) == 1 << 25  # 2^28 bits
    assert len(DuplicateFinder(1)._seen) == 1 << 13

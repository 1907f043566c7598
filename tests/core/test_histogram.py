"""Values in buckets add up, come apart, and say where they lie."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.core.histogram import Histogram, HistogramSnapshot, added, quantile, since
from bulkrate.core.stats import LATENCY_BOUNDS_S

seconds = st.floats(min_value=0, max_value=2_000, allow_nan=False)
many = st.lists(seconds, max_size=50)


def histogram(values: list[float]) -> HistogramSnapshot:
    counted = Histogram(LATENCY_BOUNDS_S)
    for value in values:
        counted.add(value)
    return counted.snapshot()


@pytest.mark.parametrize(
    ("value", "bucket"),
    [(0.0, 0), (0.001, 0), (0.0011, 1), (600.0, len(LATENCY_BOUNDS_S) - 1), (600.1, len(LATENCY_BOUNDS_S))],
)
def test_a_bound_belongs_to_its_own_bucket(value, bucket):
    assert histogram([value]).counts[bucket] == 1


@given(many, many)
def test_histograms_add_up_and_come_apart_again(first, second):
    both = histogram(first + second)
    total = added([histogram(first), histogram(second)])
    assert total.counts == both.counts
    assert total.sum == pytest.approx(both.sum)
    assert since(both, histogram(first)).counts == histogram(second).counts


def test_a_histogram_that_began_anew_is_taken_as_it_is():
    assert since(histogram([1.0]), histogram([1.0, 1.0])) == histogram([1.0])


@given(st.lists(st.floats(min_value=0, max_value=600), min_size=1, max_size=50), st.floats(0, 1))
def test_a_quantile_lies_in_the_bucket_of_the_value_it_stands_for(values, share):
    guess = quantile(histogram(values), LATENCY_BOUNDS_S, share)
    assert guess is not None
    place = max(0, -int(-(share * len(values)) // 1) - 1)
    exact = sorted(values)[min(place, len(values) - 1)]
    upper = min(bound for bound in LATENCY_BOUNDS_S if bound >= exact)
    lower = max((bound for bound in (0.0, *LATENCY_BOUNDS_S) if bound < exact), default=0.0)
    assert lower - 1e-9 <= guess <= upper + 1e-9


def test_no_values_have_no_quantile_and_those_beyond_every_bound_have_the_last():
    assert quantile(histogram([]), LATENCY_BOUNDS_S, 0.5) is None
    assert quantile(histogram([5_000.0]), LATENCY_BOUNDS_S, 0.5) == LATENCY_BOUNDS_S[-1]

"""Sums of money."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bulkrate.core.money.price import dollars, per_million


@given(st.integers(0, 10**15))
def test_money_is_exact(pico):
    assert dollars(pico) * 10**12 == pico
    assert per_million(pico) * 10**6 == pico

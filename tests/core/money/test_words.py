"""Dollars in words."""

from __future__ import annotations

from decimal import Decimal

import pytest

from bulkrate.core.money.words import usd_text


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        ("0", "$0.00"),
        ("12.5", "$12.50"),
        ("1234567.895", "$1,234,567.90"),
        ("0.01", "$0.01"),
        ("0.5", "$0.50"),
        ("0.0158", "$0.016"),
        ("1.0158", "$1.02"),
        ("0.00428", "$0.0043"),
        ("0.000000012", "$0.000000012"),
    ],
)
def test_dollars_are_told_to_the_cent_or_to_two_digits(usd, text):
    assert usd_text(Decimal(usd)) == text

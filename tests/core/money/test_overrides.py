"""Prices of one's own."""

from __future__ import annotations

import pytest

from bulkrate.core.money.overrides import read_discount, read_overrides
from bulkrate.errors import ConfigError


@pytest.mark.parametrize(
    ("given_", "told"),
    [
        ({"inputs": 1}, "did you mean 'input'?"),
        ({"colour": 1}, "known are input"),
        ({"input": -1}, "0 or more"),
        ({"input": "much"}, "do not fit"),
        ({"input": float("nan")}, "0 or more"),
        ({"batch_discount": 50}, "a share from 0 to 1"),
    ],
)
def test_a_wrong_override_is_named(given_, told):
    with pytest.raises(ConfigError, match="'m'") as caught:
        read_overrides({"m": given_})
    assert told in str(caught.value)


@pytest.mark.parametrize("share", [-0.1, 1.5, "half", None])
def test_a_discount_is_a_share(share):
    with pytest.raises(ConfigError, match="batch_discount"):
        read_discount(share, "upstream u")

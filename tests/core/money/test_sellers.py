"""Who sells at an address."""

from __future__ import annotations

import pytest

from bulkrate.core.money.sellers import is_private


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("http://localhost:8000/v1", True),
        ("http://127.0.0.1:11434/v1", True),
        ("http://[::1]:8000", True),
        ("http://10.1.2.3/v1", True),
        ("http://192.168.0.9:8000/v1", True),
        ("http://vllm.localhost/v1", True),
        ("http://8.8.8.8/v1", False),
        ("https://llm.example.com/v1", False),
        ("http://vllm:8000/v1", False),  # names are not looked up
        ("https://localhost.example.com/v1", False),
    ],
)
def test_a_private_address_is_told_by_itself(url, private):
    assert is_private(url) is private

"""A user and a password in an upstream's URL are for the upstream alone."""

from __future__ import annotations

import pytest

from bulkrate.config import Upstream, load
from bulkrate.errors import ConfigError


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://localhost:8000/v1", "http://localhost:8000/v1"),
        ("http://me:secret@host:8000/v1", "http://host:8000/v1"),
        ("https://secret@host/v1", "https://host/v1"),
        ("http://me:se@cret@host/v1", "http://host/v1"),
        ("me:secret@host/v1", "host/v1"),
        ("http://host/v1/a@b", "http://host/v1/a@b"),
    ],
)
def test_an_address_is_the_url_without_user_and_password(url, shown):
    assert Upstream(url=url).address == shown


def test_a_url_that_is_refused_is_told_without_its_password(tmp_path):
    with pytest.raises(ConfigError) as error:
        load(file=None, environ={}, flags={"upstream": ["me:secret@host/v1"]}, cwd=tmp_path)
    assert "secret" not in str(error.value)

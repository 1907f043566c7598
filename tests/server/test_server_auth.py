"""Who is answered without a key."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from bulkrate.server.auth import is_foreign


@pytest.mark.parametrize(
    ("host", "origin", "foreign"),
    [
        ("127.0.0.1:8080", None, False),
        ("localhost:8080", None, False),
        ("[::1]:8080", None, False),
        ("localhost:8080", "http://localhost:3000", False),  # a page of one's own, on this machine
        ("localhost:8080", "https://evil.example", True),
        ("localhost:8080", "null", True),  # a sandboxed frame, a local file
        ("evil.example:8080", None, True),  # a name bent to this machine
        ("evil.example:8080", "http://evil.example:8080", True),
        ("[", None, True),
    ],
)
def test_a_page_of_another_site_is_foreign(host: str, origin: str | None, foreign: bool) -> None:
    headers = {"host": host} | ({"origin": origin} if origin else {})
    assert is_foreign(Headers(headers)) is foreign


@pytest.mark.parametrize("name", ["host", "origin"])
def test_one_foreign_name_among_several_is_enough(name: str) -> None:
    own, evil = ("localhost:8080", "evil.example") if name == "host" else ("http://localhost", "http://evil")
    raw = [(b"host", b"localhost:8080"), (name.encode(), own.encode()), (name.encode(), evil.encode())]
    assert is_foreign(Headers(raw=raw))
    assert not is_foreign(Headers(raw=raw[:-1]))


def test_a_program_that_names_no_host_is_not_foreign() -> None:
    assert not is_foreign(Headers({}))

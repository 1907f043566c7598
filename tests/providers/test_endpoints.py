"""The endpoints a batch may be for, and how they may be spelled."""

from __future__ import annotations

import pytest

from bulkrate.providers.endpoints import ENDPOINTS, normal_path


def test_there_are_the_eight_endpoints_of_openais_document():
    assert set(ENDPOINTS) == {
        "/v1/responses",
        "/v1/chat/completions",
        "/v1/embeddings",
        "/v1/completions",
        "/v1/moderations",
        "/v1/images/generations",
        "/v1/images/edits",
        "/v1/videos",
    }


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/chat/completions", "/v1/chat/completions"),  # Azure
        ("/v1/", "/v1/"),
        ("", ""),
        ("chat/completions", "chat/completions"),
        ("https://host/v1/chat/completions", "https://host/v1/chat/completions"),
    ],
)
def test_a_path_is_written_as_openai_does(given, path):
    assert normal_path(given) == path

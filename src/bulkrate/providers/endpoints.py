"""The eight endpoints a batch may be for, and what each needs in a body.

After OpenAI's OpenAPI document: `required` are the fields without which the live endpoint refuses,
`model_required` is False where the model may be left to the server.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One API path and the rules for a line's body."""

    path: str
    required: str | None
    model_required: bool = True


ENDPOINTS = {
    endpoint.path: endpoint
    for endpoint in (
        Endpoint("/v1/responses", None),
        Endpoint("/v1/chat/completions", "messages"),
        Endpoint("/v1/embeddings", "input"),
        Endpoint("/v1/completions", "prompt"),
        Endpoint("/v1/moderations", "input", model_required=False),
        Endpoint("/v1/images/generations", "prompt", model_required=False),
        Endpoint("/v1/images/edits", "prompt", model_required=False),
        Endpoint("/v1/videos", "prompt", model_required=False),
    )
}


def normal_path(path: str) -> str:
    """`path` as OpenAI writes it: Azure's files say `/chat/completions`."""
    return path if path.startswith("/v1/") or not path.startswith("/") else f"/v1{path}"

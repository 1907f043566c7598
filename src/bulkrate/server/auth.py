"""Whose request this is.

Finds the key where OpenAI's clients (`Authorization: Bearer`) and Azure's (`api-key`) put it. Which keys
exist is the engine's business; a key is never logged or repeated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import Headers

if TYPE_CHECKING:
    from bulkrate.engine import Engine


async def project_of(engine: Engine, headers: Headers) -> str:
    """The caller's project; refuses with Unauthorized."""
    return await engine.keys.project_of(secret_in(headers))


def secret_in(headers: Headers) -> str | None:
    """The key that the caller sent, or None."""
    scheme, _, secret = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and secret.strip():
        return secret.strip()
    return headers.get("api-key") or None

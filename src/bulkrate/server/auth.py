"""Whose request this is.

Finds the key where OpenAI's clients (`Authorization: Bearer`) and Azure's (`api-key`) put it. Which keys
exist is the engine's business; a key is never logged or repeated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from bulkrate.engine.asks.keys import is_loopback

if TYPE_CHECKING:
    from bulkrate.engine import Engine


async def project_of(engine: Engine, headers: Headers) -> str:
    """The caller's project; refuses with Unauthorized."""
    return await engine.keys.project_of(secret_in(headers), foreign=is_foreign(headers))


def is_foreign(headers: Headers) -> bool:
    """Whether a page of another site asks.

    A browser sends such a page's `Origin`; and a page whose own name was bent to this machine's address (DNS
    rebinding) shows that name in `Host`.
    """
    hosts = [f"//{host}" for host in headers.getlist("host")]
    return not all(is_loopback(_name_in(place)) for place in (*hosts, *headers.getlist("origin")))


def _name_in(place: str) -> str:
    try:
        return urlsplit(place).hostname or ""
    except ValueError:
        return ""


def secret_in(headers: Headers) -> str | None:
    """The key that the caller sent, or None."""
    scheme, _, secret = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and secret.strip():
        return secret.strip()
    return headers.get("api-key") or None

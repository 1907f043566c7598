"""New identifiers, in the forms that OpenAI's have."""

from __future__ import annotations

import secrets
import string

_BASE62 = string.digits + string.ascii_letters


def new_file_id() -> str:
    """`file-` and 22 base62 characters."""
    return "file-" + "".join(secrets.choice(_BASE62) for _ in range(22))


def new_batch_id(now: float) -> str:
    """`batch_` and 32 hex digits, the first eight of them the time of creation, so that ids sort by it."""
    return f"batch_{int(now):08x}{secrets.token_hex(12)}"


def new_id(prefix: str) -> str:
    """`prefix` and 32 hex digits."""
    return prefix + secrets.token_hex(16)

"""How long files are kept."""

from __future__ import annotations

#: An input, and the files of an ended batch, unless the caller says otherwise. As at OpenAI.
RETENTION_S = 30 * 86_400


def expiry(purpose: str, seconds: int | None, now: int) -> int | None:
    """When a file made now goes away, in Unix seconds; None if never. `seconds` is what the caller said."""
    if seconds is not None:
        return now + seconds
    return now + RETENTION_S if purpose in {"batch", "batch_output"} else None

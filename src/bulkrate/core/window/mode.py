"""By what a window is set."""

from __future__ import annotations

from enum import Enum


class Mode(Enum):
    """By what a window is set at the moment; the value says it to people."""

    FIXED = "as configured"
    BLIND = "found by measuring what comes back"
    METRICS = "found from the engine's metrics"
    SHARED = "what others leave of the configured total"
    QUOTA = "wide enough for the quota"

"""Windows of time: what `completion_window` says, and the last moment to send."""

from __future__ import annotations

import re

WINDOW_S_MIN = 3_600
WINDOW_S_MAX = 30 * 86_400
_UNITS = {"m": 60, "h": 3_600, "d": 86_400}
# A line sent this long before the deadline is likely to be answered in time at an upstream that is not slow.
_MARGIN_S_MAX = 60.0


def window_s(text: str) -> int | None:
    """The seconds that `24h`, `90m` or `7d` stand for; None when it is no window from one hour to thirty
    days.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,5})([mhd])", text)
    if match is None:
        return None
    seconds = int(match[1]) * _UNITS[match[2]]
    return seconds if WINDOW_S_MIN <= seconds <= WINDOW_S_MAX else None


def stop_line(expires_at: float, latency_s: float) -> float:
    """The last moment at which a line may still be sent so that it can be answered before the deadline.

    `latency_s` is what an answer takes at present.
    """
    return expires_at - min(latency_s, _MARGIN_S_MAX)

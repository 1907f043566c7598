"""What an inference engine says about its load, out of its Prometheus metrics.

Reads the expositions of vLLM (old names and new), SGLang and llama.cpp, and nothing else of them. Only the
wanted lines are looked at: an exposition has thousands, and it is read every second or two.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

# A count beyond this is nonsense.
_COUNT_MAX = 10**12


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLoad:
    """The load of an engine at one moment, over all its data-parallel ranks."""

    #: Requests that are worked on.
    running: int
    #: Requests that wait for a place.
    waiting: int
    #: How much of the key-value cache is in use, 0 to 1, where it is fullest; None when the engine does not
    #: say.
    kv_usage: float | None = None
    #: Requests put back for want of cache since the engine started; None when the engine does not say.
    preemptions: int | None = None


_NAMES = {
    b"vllm:num_requests_running": "running",
    b"vllm:num_requests_waiting": "waiting",
    b"vllm:kv_cache_usage_perc": "kv_usage",
    b"vllm:gpu_cache_usage_perc": "kv_usage",  # its name until 2025
    b"vllm:num_preemptions_total": "preemptions",
    b"sglang:num_running_reqs": "running",
    b"sglang:num_queue_reqs": "waiting",
    b"sglang:token_usage": "kv_usage",
    b"sglang:num_retracted_requests_total": "preemptions",
    b"llamacpp:requests_processing": "running",
    b"llamacpp:requests_deferred": "waiting",
    b"llamacpp:kv_cache_usage_ratio": "kv_usage",  # gone from newer builds
}
# It begins with a literal, so that the search skips from line to line at the speed of memchr.
_SAMPLE = re.compile(
    rb"\n("
    + b"|".join(re.escape(name) for name in _NAMES)
    + rb")(?:\{[^\n]*\})?[ \t]+([0-9.eE+-]+)(?=[ \t\r\n]|$)"
)


def read_load(text: bytes) -> EngineLoad | None:
    """The load told by a metrics page; None when it does not say both how many run and how many wait.

    Counts are summed over the ranks of a page. Numbers that cannot be are passed over.
    """
    counts: dict[str, float] = {}
    kv_usage: float | None = None
    for name, number in _SAMPLE.findall(b"\n" + text):
        value = _number(number)
        if value is None:
            continue
        what = _NAMES[name]
        if what == "kv_usage":
            kv_usage = max(kv_usage or 0.0, min(value, 1.0))
        else:
            counts[what] = counts.get(what, 0.0) + value
    if "running" not in counts or "waiting" not in counts:
        return None
    preemptions = counts.get("preemptions")
    return EngineLoad(
        running=int(counts["running"]),
        waiting=int(counts["waiting"]),
        kv_usage=kv_usage,
        preemptions=None if preemptions is None else int(preemptions),
    )


def _number(text: bytes) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and 0 <= value <= _COUNT_MAX else None

"""What a sandbox can be told: one frozen value, checked when it is made.

It never reads files, the environment or the command line; whoever starts the sandbox does that.
"""

from pathlib import Path

from msgspec import Struct


class SandboxOptions(Struct, frozen=True, kw_only=True):
    """How the sandbox behaves. The defaults are the fastest, most patient server there is."""

    host: str = "127.0.0.1"
    port: int = 8001
    """0 takes any free port; the line printed on start says which."""

    latency_ms: float = 0.0
    """Mean time an answer takes, waiting in the queue not counted."""

    latency_spread: float = 0.0
    """Sigma of the log-normal spread of the latency; 0 makes every answer take exactly the mean."""

    capacity: int = 0
    """Requests worked on at once; 0 is no limit. More of them wait in the queue."""

    queue: int | None = None
    """Requests that may wait; beyond that 503 with Retry-After. None is no limit."""

    error_rate: float = 0.0
    """Share of calls answered 500, drawn per call and not per request: a retry may succeed."""

    rate_limit: float = 0.0
    """Requests per second beyond which 429 is the answer; 0 is no limit. One second's worth may burst."""

    idle_ms: float | None = None
    """Close idle connections, each at a moment drawn from 0 to this. None keeps them for 75 seconds."""

    restart_s: float | None = None
    """Start again so long after a death, be it by `[[sandbox:crash]]`. None stays dead."""

    seed: int = 0
    models: tuple[str, ...] = ()
    """Names served; any other is answered 404. Empty serves any name."""

    key: str | None = None
    """When set, calls under /v1 need `Authorization: Bearer <key>`."""

    journal: Path | None = None
    """A file that gets one JSON line per POST call, as the call is received."""

    def __post_init__(self) -> None:
        self._in_range("port", self.port, 0, 65535)
        self._in_range("error_rate", self.error_rate, 0, 1)
        for name in ("latency_ms", "latency_spread", "capacity", "rate_limit"):
            self._in_range(name, getattr(self, name), 0, None)
        for name in ("queue", "idle_ms", "restart_s"):
            if getattr(self, name) is not None:
                self._in_range(name, getattr(self, name), 0, None)
        if self.key == "":
            raise ValueError("sandbox: key is empty; give a key, or None to serve without one")

    @staticmethod
    def _in_range(name: str, value: float, low: float, high: float | None) -> None:
        if low <= value and (high is None or value <= high):
            return
        wanted = f"{low} or more" if high is None else f"from {low} to {high}"
        raise ValueError(f"sandbox: {name} is {value}; it must be {wanted}")

"""How long one step of an engine takes on three kinds of hardware.

A step costs an overhead, the linear layers (a table over the tokens of the step), the reading of the key-
value cache by those that decode, and the attention of those that prefill. The tables are sums of public per-
operator medians.
"""

from __future__ import annotations

from dataclasses import dataclass

_TOKENS = (1, 32, 64, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """One engine's speed and room. Times are seconds, the cache is counted in tokens."""

    name: str
    overhead_s: float
    #: Milliseconds of the linear layers at each size in `_TOKENS`.
    linear_ms: tuple[float, ...]
    kv_bytes: float
    bandwidth: float
    layers: int
    width: int
    prefill_flops: float
    kv_tokens: int
    step_tokens: int
    sequences: int = 256

    def linear_table(self) -> list[float]:
        """Seconds of the linear layers for every number of tokens up to twice the step's budget."""
        table = [0.0]
        at = 0
        for tokens in range(1, max(self.step_tokens, 4096) + 1):
            while at < len(_TOKENS) - 2 and tokens > _TOKENS[at + 1]:
                at += 1
            low, high = _TOKENS[at], _TOKENS[at + 1]
            low_ms, high_ms = self.linear_ms[at], self.linear_ms[at + 1]
            table.append((low_ms + (high_ms - low_ms) * (tokens - low) / (high - low)) / 1000)
        return table

    @property
    def read_s(self) -> float:
        """Seconds to read one token of the cache."""
        return self.kv_bytes / self.bandwidth

    @property
    def attention_s(self) -> float:
        """Seconds of prefill attention for one token at one position."""
        return 4 * self.layers * self.width / self.prefill_flops


A100_8B = Hardware(
    name="A100, 8B",
    overhead_s=0.0015,
    linear_ms=(9.7, 10.9, 11.2, 13.2, 16.8, 19.5, 27.7, 34.6, 52.9, 75.1, 145.6, 273.6),
    kv_bytes=128e3,
    bandwidth=1.5e12,
    layers=32,
    width=4096,
    prefill_flops=0.48 * 312e12,
    kv_tokens=410_000,
    step_tokens=2048,
)
H100X4_70B = Hardware(
    name="4xH100, 70B",
    overhead_s=0.002,
    linear_ms=(14.3, 15.3, 15.3, 15.9, 18.3, 19.2, 29.0, 30.0, 47.0, 62.1, 110.6, 222.8),
    kv_bytes=320e3,
    bandwidth=4 * 2.5e12,
    layers=80,
    width=8192,
    prefill_flops=0.48 * 4 * 989e12,
    kv_tokens=450_000,
    step_tokens=8192,
)
H100_7B = Hardware(
    name="H100, 7B",
    overhead_s=0.0015,
    linear_ms=(5.6, 5.8, 5.9, 6.4, 7.4, 9.2, 11.0, 12.0, 18.8, 21.0, 40.3, 83.5),
    kv_bytes=128e3,
    bandwidth=2.5e12,
    layers=32,
    width=4096,
    prefill_flops=0.48 * 989e12,
    kv_tokens=410_000,
    step_tokens=8192,
)

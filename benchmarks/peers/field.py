"""Who is compared: each at one version, with what it is and how it was asked to work."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Peer:
    """A tool, and the runner in `runners/` that drives it in its own environment.

    `lines` is as many as it answers in some ten seconds.
    """

    name: str
    package: str
    version: str
    runner: str
    lines: int
    does: str

    @property
    def pin(self) -> str:
        """What to install."""
        return f"{self.package}=={self.version}"


FIELD = (
    Peer(
        "aibrix",
        "aibrix",
        "0.8.0",
        "aibrix_batches.py",
        1_000,
        "batch server with the Files and Batches API; local storage, a gateway endpoint, capacity as asked",
    ),
    Peer(
        "litellm",
        "litellm",
        "1.106.2",
        "litellm_batch_completion.py",
        2_000,
        "batch_completion(): a thread per request in flight; answers in memory",
    ),
    Peer(
        "openai",
        "openai",
        "3.51.0",
        "openai_async.py",
        5_000,
        "AsyncOpenAI behind a semaphore; answers in memory",
    ),
    Peer(
        "openai-aiohttp",
        "openai[aiohttp]",
        "3.51.0",
        "openai_async.py",
        5_000,
        "the same with its aiohttp transport",
    ),
)

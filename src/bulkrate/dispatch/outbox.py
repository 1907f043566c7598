"""Requests on their way, sent together.

A server that waits is woken by each request that comes alone, and both sides pay for that; of requests that
come together, only the first wakes it. None waits longer than the answers that have already come take.
"""

from __future__ import annotations

import asyncio


class Outbox:
    """Sends what was put into it when the event loop has dealt with all that had come."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[asyncio.Transport, bytes]] = []

    def put(self, transport: asyncio.Transport, request: bytes) -> None:
        """Send a request soon."""
        if not self._waiting:
            self._loop.call_soon(self._send)
        self._waiting.append((transport, request))

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        for transport, request in waiting:
            if (
                not transport.is_closing()
            ):  # else whoever waits for the answer was told; the others must go out
                transport.write(request)

"""A real receiver of webhooks, for tests."""

import asyncio
import contextlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Received:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


def answer(status: int, *headers: str, body: bytes = b"") -> bytes:
    """The bytes of an HTTP answer."""
    lines = [f"HTTP/1.1 {status} Word", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Receiver:
    """A server on 127.0.0.1 that keeps what it is sent.

    It gives the `answers` in turn and the last of them for ever; before the first, it waits until
    `together` requests are here at once. A `silent` one never answers; a `held` one keeps the connection
    open behind its answer, as if more were to come.
    """

    def __init__(self, *answers: bytes, together: int = 1, silent: bool = False, held: bool = False) -> None:
        self.received: list[Received] = []
        self.at_once_max = 0
        self._at_once = 0
        self._answers = list(answers or [answer(200)])
        self._together = asyncio.Barrier(together)
        self._silent = silent
        self._held = held
        self._end = asyncio.Event()
        self._news = asyncio.Condition()

    async def __aenter__(self) -> "Receiver":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/hook"
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._end.set()
        self._server.close()
        await self._server.wait_closed()

    async def reached(self, number: int) -> None:
        """Wait until `number` requests have come."""
        async with self._news:
            await self._news.wait_for(lambda: len(self.received) >= number)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._at_once += 1
        self.at_once_max = max(self.at_once_max, self._at_once)
        # A sender that has what it wants may hang up in the middle of our answer.
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            self.received.append(await _read(reader))
            async with self._news:
                self._news.notify_all()
            await self._together.wait()
            if not self._silent:
                writer.write(self._answers.pop(0) if len(self._answers) > 1 else self._answers[0])
                await writer.drain()
            if self._silent or self._held:
                await self._end.wait()
        self._at_once -= 1
        writer.close()


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Received(method, path, headers, body)

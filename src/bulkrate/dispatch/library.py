"""HTTP by pyreqwest, for what goes through TLS or a proxy. Its exceptions end here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from pyreqwest.client import Client as HttpClient
from pyreqwest.client import ClientBuilder
from pyreqwest.exceptions import DetailedPyreqwestError, PyreqwestError, RequestTimeoutError
from pyreqwest.request import RequestBody, StreamRequest
from pyreqwest.response import Response

from bulkrate.config import Upstream
from bulkrate.dispatch.http import AttemptError, Reply, lost, timed_out, too_long, unreachable

# Connections that are kept while idle, where no `max_in_flight` says how many there will be.
_IDLE_MAX = 8_192
# A server that closes idle connections does so after 5 s or more; ours go first, and no POST runs into a
# closed one.
_IDLE_S = 4
# What stands in the causes of a connection that could not be made, and what to tell of it.
_WHY = {
    "dns error": "its host has no address",
    "not valid for name": "its certificate is for another host",
    "expired": "its certificate has expired",
    "peer certificate": "its certificate is not trusted here; name who vouches for it in ca_file",
    "invalidcontenttype": "it does not speak TLS; write http:// if that is meant",
    "too many open files": "too many open files here; allow more (ulimit -n)",
    "refused": "it refuses the connection",
}


class Library:
    """Sends requests with `headers`, and takes answers of up to `answer_bytes_max`."""

    def __init__(self, upstream: Upstream, headers: Mapping[str, str], *, answer_bytes_max: int) -> None:
        self._address = upstream.address
        self._timeout_s = upstream.timeout_s
        self._answer_bytes_max = answer_bytes_max
        self._http = _build(upstream, headers)
        # A request per URL without its body: a copy of it takes less time than a new one.
        self._blanks: dict[str, StreamRequest] = {}

    async def post(self, url: str, body: bytes, headers: Mapping[str, str] | None = None) -> Reply:
        """The answer to `body`; `headers` are for this request alone. Raises `AttemptError`."""
        blank = self._blanks.get(url)
        if blank is None:
            blank = self._blanks[url] = self._http.post(url).build_streamed()
        request = StreamRequest.from_request_and_body(blank, RequestBody.from_bytes(body))
        if headers is not None:
            request.headers.update(headers)
        return await self._send(request, self._timeout_s)

    async def get(self, url: str, *, timeout_s: float) -> Reply:
        """The answer to a question, within `timeout_s`. Raises `AttemptError`."""
        request = self._http.get(url).timeout(timedelta(seconds=timeout_s)).build_streamed()
        return await self._send(request, timeout_s)

    async def close(self) -> None:
        """Close every connection."""
        await self._http.close()

    async def _send(self, request: StreamRequest, timeout_s: float) -> Reply:
        try:
            async with request as response:
                return Reply(response.status, await self._read(response), response.get_header)
        except PyreqwestError as cause:
            raise self._translate(cause, timeout_s) from cause

    async def _read(self, response: Response) -> bytes:
        reader = response.body_reader
        length = response.get_header("content-length")
        if length is not None and length.isdigit() and int(length) <= self._answer_bytes_max:
            return bytes(await reader.bytes())
        chunks: list[bytes] = []
        size = 0
        while (chunk := await reader.read_chunk()) is not None:
            size += len(chunk)
            if size > self._answer_bytes_max:
                raise too_long(self._answer_bytes_max)
            chunks.append(bytes(chunk))
        return b"".join(chunks)

    def _translate(self, cause: PyreqwestError, timeout_s: float) -> AttemptError:
        """What went wrong, in our words: the library's may hold the URL, and so a key in it."""
        causes = _causes(cause)
        # The class does not tell whether anything was sent: `ConnectError` is also raised for a server that
        # hangs up before it answers, and `ConnectTimeoutError` for one that is connected but silent.
        if "error (connect)" in causes:
            return unreachable(
                self._address, next((told for sign, told in _WHY.items() if sign in causes), "")
            )
        if isinstance(cause, RequestTimeoutError):
            return timed_out(timeout_s)
        return lost(type(cause).__name__, unanswered="error (sendrequest)" in causes)


def _causes(cause: PyreqwestError) -> str:
    if not isinstance(cause, DetailedPyreqwestError):
        return ""
    return "; ".join(found["message"] for found in cause.details["causes"] or ()).lower()


def _build(upstream: Upstream, headers: Mapping[str, str]) -> HttpClient:
    builder = ClientBuilder()
    if upstream.ca_file is not None:
        builder = builder.add_root_certificate_pem(Path(upstream.ca_file).read_bytes())
    return (
        builder.default_headers(dict(headers))
        .timeout(timedelta(seconds=upstream.timeout_s))
        .connect_timeout(timedelta(seconds=upstream.connect_timeout_s))
        .pool_max_idle_per_host(upstream.max_in_flight or _IDLE_MAX)
        .pool_idle_timeout(timedelta(seconds=_IDLE_S))
        .follow_redirects(False)
        .build()
    )

"""HTTP to one upstream. The client library is spoken only here; its exceptions end here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from pyreqwest.client import Client as HttpClient
from pyreqwest.client import ClientBuilder
from pyreqwest.exceptions import DetailedPyreqwestError, PyreqwestError, RequestTimeoutError
from pyreqwest.request import RequestBody, StreamRequest
from pyreqwest.response import Response

from bulkrate import __version__
from bulkrate.config import Upstream
from bulkrate.core.outcome import Answer, Failed, Failure
from bulkrate.providers.engines import EngineLoad, read_load
from bulkrate.providers.ratelimits import RateLimits, read_limits

_PROBE_TIMEOUT_S = 5.0
# A load that is told later than this is of the past.
_METRICS_TIMEOUT_S = 2.0
# Hosted APIs tell their quotas with every answer, and most servers never do: after so many answers without,
# only one in a hundred is looked at.
_WITHOUT_LIMITS_MAX = 20
# Connections that are kept while idle, where no `max_in_flight` says how many there will be.
_IDLE_MAX = 8_192
# The server's own code says this, so it is there; a gateway says 502 to 504 of a server that is not.
_LIST_IS_BROKEN = {500, 501}
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


class AttemptError(Exception):
    """No HTTP answer came; `failed` says why."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.detail)
        self.failed = failed


class Client:
    """Posts bodies to an upstream and brings back what it answers, byte for byte."""

    def __init__(self, upstream: Upstream, *, answer_bytes_max: int) -> None:
        self._url = upstream.url
        self._metrics_url = upstream.metrics_url or _beside(upstream.url, "/metrics")
        self._without_limits = 0
        self._timeout_s = upstream.timeout_s
        self._needs_list = upstream.models is None
        self._answer_bytes_max = answer_bytes_max
        self._http = _build(upstream)
        # A request per path without its body: a copy of it takes less time than a new one.
        self._blanks: dict[str, StreamRequest] = {}

    async def post(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """The answer to `body` at `path` (`/v1/…`, of which the upstream's URL stands for the `/v1`).

        `headers` are for this request alone. Raises `AttemptError`.
        """
        blank = self._blanks.get(path)
        if blank is None:
            blank = self._http.post(self._url + path.removeprefix("/v1")).build_streamed()
            self._blanks[path] = blank
        request = StreamRequest.from_request_and_body(blank, RequestBody.from_bytes(body))
        if headers is not None:
            request.headers.update(headers)
        try:
            async with request as response:
                content = await self._read(response)
                status = response.status
                return Answer(
                    status,
                    content,
                    response.get_header("x-request-id"),
                    _retry_after_s(response) if status >= 400 else None,
                    self._limits_in(response, status),
                )
        except PyreqwestError as cause:
            raise AttemptError(self._translate(cause, self._timeout_s)) from cause

    async def models(self) -> list[str] | None:
        """What the upstream says it serves; None when it has no such list.

        Raises `AttemptError`; its failure says whether the upstream is out.
        """
        request = self._http.get(self._url + "/models").timeout(timedelta(seconds=_PROBE_TIMEOUT_S))
        try:
            response = await request.build().send()
            content = bytes(await response.bytes())
        except PyreqwestError as cause:
            raise AttemptError(self._translate(cause, _PROBE_TIMEOUT_S)) from cause
        if response.status in {401, 403}:
            raise AttemptError(
                Failed(Failure.KEY_REFUSED, f"the upstream does not accept our key ({response.status})")
            )
        if response.status in _LIST_IS_BROKEN and not self._needs_list:
            return None
        if response.status == 429:
            raise AttemptError(Failed(Failure.BUSY, "the upstream is busy (429)"))
        if response.status >= 500:
            detail = f"the upstream answers {response.status} when asked for its models"
            if response.status in _LIST_IS_BROKEN:
                detail += "; if it works all the same, list what it serves under 'models' in its settings"
            raise AttemptError(Failed(Failure.UNREACHABLE, detail))
        if response.status == 404 and not self._url.endswith("/v1") and await self._lacks_v1():
            detail = f"the API is at {self._url}/v1; put the /v1 into the URL"
            raise AttemptError(Failed(Failure.UNREACHABLE, detail))
        return _model_ids(content) if response.status == 200 else None

    async def load(self) -> EngineLoad | None:
        """What the upstream's engine says about its load; None when it says nothing that we understand."""
        request = self._http.get(self._metrics_url).timeout(timedelta(seconds=_METRICS_TIMEOUT_S))
        try:
            response = await request.build().send()
            return read_load(bytes(await response.bytes())) if response.status == 200 else None
        except PyreqwestError:
            return None

    def _limits_in(self, response: Response, status: int) -> RateLimits | None:
        self._without_limits += 1
        if self._without_limits > _WITHOUT_LIMITS_MAX and status != 429 and self._without_limits % 100:
            return None
        limits = read_limits(response.get_header)
        if limits is not None:
            self._without_limits = 0
        return limits

    async def _lacks_v1(self) -> bool:
        """Whether the URL is the server's, and not its API's: a mistake that everybody makes once."""
        request = self._http.get(self._url + "/v1/models").timeout(timedelta(seconds=_PROBE_TIMEOUT_S))
        try:
            return (await request.build().send()).status == 200
        except PyreqwestError:
            return False

    async def close(self) -> None:
        """Close every connection."""
        await self._http.close()

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
                detail = f"the answer is longer than {self._answer_bytes_max} bytes (limits.answer_bytes_max)"
                raise AttemptError(Failed(Failure.GARBLED, detail))
            chunks.append(bytes(chunk))
        return b"".join(chunks)

    def _translate(self, cause: PyreqwestError, timeout_s: float) -> Failed:
        """What went wrong, in our words: the library's may hold the URL, and so a key in it."""
        causes = _causes(cause)
        # The class does not tell whether anything was sent: `ConnectError` is also raised for a server that
        # hangs up before it answers, and `ConnectTimeoutError` for one that is connected but silent.
        if "error (connect)" in causes:
            why = next((f": {told}" for sign, told in _WHY.items() if sign in causes), "")
            return Failed(Failure.UNREACHABLE, f"no connection to {self._url}{why}")
        if isinstance(cause, RequestTimeoutError):
            return Failed(Failure.TIMED_OUT, f"no answer within {timeout_s:g} s")
        return Failed(
            Failure.LOST,
            f"the connection was lost before the whole answer came ({type(cause).__name__})",
            unanswered="error (sendrequest)" in causes,
        )


def _causes(cause: PyreqwestError) -> str:
    if not isinstance(cause, DetailedPyreqwestError):
        return ""
    return "; ".join(found["message"] for found in cause.details["causes"] or ()).lower()


def _build(upstream: Upstream) -> HttpClient:
    headers = {"content-type": "application/json", "user-agent": f"bulkrate/{__version__}"}
    if upstream.key is not None:
        headers["authorization"] = f"Bearer {upstream.key}"
    headers |= upstream.headers
    builder = ClientBuilder()
    if upstream.ca_file is not None:
        builder = builder.add_root_certificate_pem(Path(upstream.ca_file).read_bytes())
    return (
        builder.default_headers(headers)
        .timeout(timedelta(seconds=upstream.timeout_s))
        .connect_timeout(timedelta(seconds=upstream.connect_timeout_s))
        .pool_max_idle_per_host(upstream.max_in_flight or _IDLE_MAX)
        # A server that closes idle connections does so after 5 s or more; ours go first, and no POST runs
        # into a closed one.
        .pool_idle_timeout(timedelta(seconds=4))
        .follow_redirects(False)
        .build()
    )


def _beside(url: str, path: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{path}"


def _retry_after_s(response: Response) -> float | None:
    """Seconds, whether the upstream gave milliseconds, seconds or a date."""
    milliseconds = response.get_header("retry-after-ms")
    after = response.get_header("retry-after")
    return read_retry_after(milliseconds, after, now=datetime.now(UTC))


def read_retry_after(milliseconds: str | None, after: str | None, *, now: datetime) -> float | None:
    """Seconds to wait, by the first of the two headers that makes sense; None when neither does."""
    if milliseconds is not None and (seconds := _number(milliseconds)) is not None:
        return seconds / 1000
    if after is None:
        return None
    seconds = _number(after)
    return _seconds_until(after, now) if seconds is None else seconds


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None


def _seconds_until(date: str, now: datetime) -> float | None:
    try:
        when = parsedate_to_datetime(date)
    except ValueError:
        return None
    if when.tzinfo is None:  # "-0000": the time is UTC, the sender's zone unknown
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - now).total_seconds())


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


def _model_ids(content: bytes) -> list[str] | None:
    try:
        return [model.id for model in msgspec.json.decode(content, type=_Models).data]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None

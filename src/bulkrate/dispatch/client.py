"""One upstream, as it is spoken to: lines are posted, and questions asked of it.

What carries the requests is chosen here: `Direct` for plain HTTP, `Library` for TLS and proxies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import msgspec

from bulkrate import __version__
from bulkrate.config import Upstream
from bulkrate.core.outcome import Answer, Failed, Failure
from bulkrate.dispatch.direct import Direct, suits
from bulkrate.dispatch.http import AttemptError, Http
from bulkrate.providers.engines import EngineLoad, read_load
from bulkrate.providers.ratelimits import RateLimits, read_limits

_PROBE_TIMEOUT_S = 5.0
# A load that is told later than this is of the past.
_METRICS_TIMEOUT_S = 2.0
# Hosted APIs tell their quotas with every answer, and most servers never do: after so many answers without,
# only one in a hundred is looked at.
_WITHOUT_LIMITS_MAX = 20
# The server's own code says this, so it is there; a gateway says 502 to 504 of a server that is not.
_LIST_IS_BROKEN = {500, 501}


class Client:
    """Posts bodies to an upstream and brings back what it answers, byte for byte."""

    def __init__(self, upstream: Upstream, *, answer_bytes_max: int) -> None:
        self._url = upstream.url
        self._address = upstream.address
        self._metrics_url = upstream.metrics_url or _beside(upstream.url, "/metrics")
        self._without_limits = 0
        self._needs_list = upstream.models is None
        self._http = _http(upstream.url, upstream, answer_bytes_max)
        self._metrics = self._http
        if _beside(self._metrics_url, "") != _beside(upstream.url, ""):
            self._metrics = _http(self._metrics_url, upstream, answer_bytes_max)
        self._urls: dict[str, str] = {}

    async def post(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """The answer to `body` at `path` (`/v1/…`, of which the upstream's URL stands for the `/v1`).

        `headers` are for this request alone. Raises `AttemptError`.
        """
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = self._url + path.removeprefix("/v1")
        reply = await self._http.post(url, body, headers)
        status = reply.status
        return Answer(
            status,
            reply.content,
            reply.header("x-request-id"),
            _retry_after_s(reply.header) if status >= 400 else None,
            self._limits_in(reply.header, status),
        )

    async def models(self) -> list[str] | None:
        """What the upstream says it serves; None when it has no such list.

        Raises `AttemptError`; its failure says whether the upstream is out.
        """
        reply = await self._http.get(self._url + "/models", timeout_s=_PROBE_TIMEOUT_S)
        status = reply.status
        if status in {401, 403}:
            raise AttemptError(
                Failed(Failure.KEY_REFUSED, f"the upstream does not accept our key ({status})")
            )
        if status in _LIST_IS_BROKEN and not self._needs_list:
            return None
        if status == 429:
            raise AttemptError(Failed(Failure.BUSY, "the upstream is busy (429)"))
        if status >= 500:
            detail = f"the upstream answers {status} when asked for its models"
            if status in _LIST_IS_BROKEN:
                detail += "; if it works all the same, list what it serves under 'models' in its settings"
            raise AttemptError(Failed(Failure.UNREACHABLE, detail))
        if status == 404 and not self._url.endswith("/v1") and await self._lacks_v1():
            detail = f"the API is at {self._address}/v1; put the /v1 into the URL"
            raise AttemptError(Failed(Failure.UNREACHABLE, detail))
        return _model_ids(reply.content) if status == 200 else None

    async def load(self) -> EngineLoad | None:
        """What the upstream's engine says about its load; None when it says nothing that we understand."""
        try:
            reply = await self._metrics.get(self._metrics_url, timeout_s=_METRICS_TIMEOUT_S)
        except AttemptError:
            return None
        return read_load(reply.content) if reply.status == 200 else None

    async def close(self) -> None:
        """Close every connection."""
        await self._http.close()
        if self._metrics is not self._http:
            await self._metrics.close()

    def _limits_in(self, header: Callable[[str], str | None], status: int) -> RateLimits | None:
        self._without_limits += 1
        if self._without_limits > _WITHOUT_LIMITS_MAX and status != 429 and self._without_limits % 100:
            return None
        limits = read_limits(header)
        if limits is not None:
            self._without_limits = 0
        return limits

    async def _lacks_v1(self) -> bool:
        """Whether the URL is the server's, and not its API's: a mistake that everybody makes once."""
        try:
            return (await self._http.get(self._url + "/v1/models", timeout_s=_PROBE_TIMEOUT_S)).status == 200
        except AttemptError:
            return False


def _http(url: str, upstream: Upstream, answer_bytes_max: int) -> Http:
    headers = {"content-type": "application/json", "user-agent": f"bulkrate/{__version__}"}
    if upstream.key is not None:
        headers["authorization"] = f"Bearer {upstream.key}"
    headers |= upstream.headers
    if suits(url, headers):
        return Direct(url, upstream, headers, answer_bytes_max=answer_bytes_max)
    from bulkrate.dispatch.library import Library  # noqa: PLC0415  # loaded only where it is needed

    return Library(upstream, headers, answer_bytes_max=answer_bytes_max)


def _beside(url: str, path: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{path}"


def _retry_after_s(header: Callable[[str], str | None]) -> float | None:
    """Seconds, whether the upstream gave milliseconds, seconds or a date."""
    milliseconds = header("retry-after-ms")
    after = header("retry-after")
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

"""A Batch API over HTTP, as its client sees it: bulkrate's own, or any that speaks OpenAI's.

The one place of the toolkit that speaks HTTP to it. Calls block; a call that fails for a passing reason is
made again for a while. It decides nothing about jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import msgspec
from pyreqwest.client import SyncClient, SyncClientBuilder
from pyreqwest.exceptions import PyreqwestError
from pyreqwest.multipart import FormBuilder, PartBuilder
from pyreqwest.request import SyncRequestBuilder
from pyreqwest.response import SyncResponse
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from bulkrate import __version__
from bulkrate.errors import (
    ConfigError,
    Conflict,
    InvalidRequest,
    NotFound,
    RequestRefused,
    ServerUnreachable,
    TooLarge,
    Unavailable,
    Unprocessable,
)

T = TypeVar("T")

_REFUSALS: dict[int, type[RequestRefused]] = {
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    422: Unprocessable,
}
_CHUNK_BYTES = 1 << 20
#: So much of a growing stream is read at once.
GROWING_BYTES = 8 << 20
# An upload of gigabytes takes its time; silence does not.
_READ_S = 120
_CALL_S = 60
# Somebody waits in front of a command that may have the wrong address.
_REACH_S = 8.0
_LIST_LIMIT = 100
#: How many batches are looked through for one whose create call was never answered.
_FIND_MAX = 1_000


class RemoteCounts(msgspec.Struct, frozen=True):
    """OpenAI's counts; some servers leave them out."""

    total: int = 0
    completed: int = 0
    failed: int = 0


class RemoteWaits(msgspec.Struct, frozen=True):
    """What a batch waits for at providers' batch APIs, in words."""

    waiting: str | None = None


class RemoteProgress(msgspec.Struct, frozen=True):
    """What bulkrate tells beyond OpenAI's object."""

    done: int = 0
    in_flight: int = 0
    lines_per_second: float = 0.0
    paused: str | None = None
    key_refused: bool = False
    remote: RemoteWaits | None = None

    @property
    def waiting(self) -> str | None:
        """Why it does not move, or a part of it that a provider shall answer."""
        return self.paused or (self.remote.waiting if self.remote is not None else None)


class RemoteFault(msgspec.Struct, frozen=True):
    """One reason why an input file was rejected."""

    message: str | None = None
    code: str | None = None
    line: int | None = None


class RemoteFaults(msgspec.Struct, frozen=True):
    """All reasons."""

    data: list[RemoteFault] | None = None


class RemoteBatch(msgspec.Struct, frozen=True):
    """A batch, read leniently: what servers leave out or null is None."""

    id: str
    status: str
    input_file_id: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: RemoteFaults | list[Any] | None = None
    request_counts: RemoteCounts | None = None
    metadata: dict[str, Any] | None = None
    progress: RemoteProgress | None = None

    @property
    def faults(self) -> list[RemoteFault]:
        """Why the input was rejected, if it was."""
        return (self.errors.data or []) if isinstance(self.errors, RemoteFaults) else []

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in {"completed", "failed", "expired", "cancelled", "canceled"}


class _Page(msgspec.Struct):
    data: list[RemoteBatch]
    has_more: bool = False


class _Named(msgspec.Struct):
    id: str


class _Health(msgspec.Struct):
    version: str
    upstreams: dict[str, Any]


class _Models(msgspec.Struct):
    data: list[_Named]


class _Error(msgspec.Struct):
    message: str = ""
    code: Any = None
    param: Any = None


class _ErrorBody(msgspec.Struct):
    error: _Error


class BatchApi:
    """The Batch API at `url` (ending in `/v1`), with `key`.

    Every method raises `ServerUnreachable` when nobody answers for `patience_s`, `ConfigError` when the key
    is refused, and the `RequestRefused` of its status when the server says no.
    """

    def __init__(self, url: str, key: str | None, *, patience_s: float = 60.0) -> None:
        self.url = url.rstrip("/")
        self._key = key
        self._patience_s = patience_s
        self._client: SyncClient = (
            SyncClientBuilder()
            .user_agent(f"bulkrate/{__version__}")
            .connect_timeout(timedelta(seconds=10))
            .read_timeout(timedelta(seconds=_READ_S))
            .build()
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def is_bulkrate(self) -> bool:
        """Whether a bulkrate server answers here, which offers more than OpenAI's API. One try."""
        parts = urlsplit(self.url)
        try:
            with (
                self._client.get(f"{parts.scheme}://{parts.netloc}/health")
                .timeout(timedelta(seconds=2))
                .build_streamed() as answer
            ):
                msgspec.json.decode(bytes(answer.bytes()), type=_Health)
        except (PyreqwestError, msgspec.MsgspecError):
            return False
        return True

    def reach(self) -> None:
        """Return once the server answers, whatever it says; only a key that it refuses is told of."""
        with suppress(RequestRefused):
            self._get("/models", _Models, patience_s=_REACH_S)

    def models(self) -> list[str]:
        """The names of the models served."""
        return [model.id for model in self._get("/models", _Models).data]

    def upload(self, path: Path) -> str:
        """Upload an input file; its id."""

        def request() -> SyncRequestBuilder:
            part = PartBuilder.from_stream_with_length(_chunks(path), path.stat().st_size)
            form = FormBuilder().text("purpose", "batch")
            form = form.part("file", part.file_name(path.name).mime("application/jsonl"))
            return self._client.post(f"{self.url}/files").multipart(form)

        return self._call(request, lambda answer: _decoded(answer, _Named)).id

    def create(
        self,
        file_id: str,
        *,
        endpoint: str,
        window: str,
        metadata: Mapping[str, str],
        key: str,
        isolate: bool,
    ) -> RemoteBatch:
        """Begin a batch. `key` makes it safe to ask again, where the server knows such keys.

        `isolate` lets bad lines fail alone. Only a bulkrate server takes that, and is asked again: another
        may have begun the batch although its answer never came (see `find`).
        """
        ask: dict[str, Any] = {
            "input_file_id": file_id,
            "endpoint": endpoint,
            "completion_window": window,
            "metadata": dict(metadata),
        }
        if isolate:
            ask["on_invalid_line"] = "isolate"

        def request() -> SyncRequestBuilder:
            return self._json_call("/batches", ask).header("idempotency-key", key)

        call = self._call if isolate else self._call_once
        return call(request, lambda answer: _decoded(answer, RemoteBatch))

    def get(self, batch_id: str) -> RemoteBatch:
        """A batch as it is now. Raises `NotFound`."""
        return self._get(f"/batches/{quote(batch_id)}", RemoteBatch)

    def find(self, metadata: Mapping[str, str]) -> RemoteBatch | None:
        """The newest batch with this metadata: was a create call that nobody answered done after all?"""
        after = ""
        for _ in range(_FIND_MAX // _LIST_LIMIT):
            page = self._get(f"/batches?limit={_LIST_LIMIT}{after}", _Page)
            for batch in page.data:
                if metadata.items() <= (batch.metadata or {}).items():
                    return batch
            if not page.has_more or not page.data:
                return None
            after = f"&after={quote(page.data[-1].id)}"
        return None

    def cancel(self, batch_id: str) -> RemoteBatch:
        """Ask for a batch to stop. Raises `Conflict` for one that has ended."""
        return self._call(
            lambda: self._client.post(f"{self.url}/batches/{quote(batch_id)}/cancel"),
            lambda answer: _decoded(answer, RemoteBatch),
        )

    def delete_file(self, file_id: str) -> None:
        """Delete a file; one that is gone already is fine."""
        try:
            self._call(lambda: self._client.delete(f"{self.url}/files/{quote(file_id)}"), lambda _: None)
        except NotFound:
            return

    def growing(self, batch_id: str, stream: str, offset: int) -> bytes:
        """What came to the `output` or `errors` of a batch since `offset`: all of it, or at least
        `GROWING_BYTES` with the end of a line in them. Only a bulkrate server can do this.
        """
        path = f"{self.url}/batches/{quote(batch_id)}/{stream}?offset={offset}"

        def read(answer: SyncResponse) -> bytes:
            data = bytearray()
            while chunk := answer.body_reader.read(GROWING_BYTES):
                data += bytes(chunk)
                if len(data) >= GROWING_BYTES and b"\n" in data:
                    break
            return bytes(data)

        return self._call(lambda: self._client.get(path), read)

    def content(self, file_id: str, offset: int) -> Iterator[bytes]:
        """The content of a file from `offset` on, while it comes. One try: whoever reads knows how far."""
        request = self._authorised(self._client.get(f"{self.url}/files/{quote(file_id)}/content"))
        if offset:
            request = request.header("range", f"bytes={offset}-")
        with self._translated(), request.build_streamed() as answer:
            if answer.status == 416:  # nothing comes after the offset
                return
            if answer.status >= 400:
                raise _refusal(answer, self.url)
            skip = offset if answer.status == 200 else 0  # a server that does not know ranges
            while chunk := bytes(answer.body_reader.read_chunk() or b""):
                yield chunk[skip:]
                skip = max(0, skip - len(chunk))

    def _get(self, path: str, shape: type[T], *, patience_s: float | None = None) -> T:
        return self._call(
            lambda: self._client.get(self.url + path).timeout(timedelta(seconds=_CALL_S)),
            lambda answer: _decoded(answer, shape),
            patience_s=patience_s,
        )

    def _json_call(self, path: str, ask: object) -> SyncRequestBuilder:
        request = self._client.post(self.url + path).header("content-type", "application/json")
        return request.body_bytes(msgspec.json.encode(ask)).timeout(timedelta(seconds=_CALL_S))

    def _authorised(self, request: SyncRequestBuilder) -> SyncRequestBuilder:
        return request.bearer_auth(self._key) if self._key else request

    def _call(
        self,
        request: Callable[[], SyncRequestBuilder],
        read: Callable[[SyncResponse], T],
        *,
        patience_s: float | None = None,
    ) -> T:
        """Make a call, again and again while its failure may pass."""
        for attempt in Retrying(
            retry=retry_if_exception_type((Unavailable, ServerUnreachable)),
            stop=stop_after_delay(self._patience_s if patience_s is None else patience_s),
            wait=wait_exponential_jitter(initial=0.2, max=10),
            reraise=True,
        ):
            with attempt:
                return self._call_once(request, read)
        raise AssertionError  # the loop above returns or raises

    def _call_once(self, request: Callable[[], SyncRequestBuilder], read: Callable[[SyncResponse], T]) -> T:
        with self._translated(), self._authorised(request()).build_streamed() as answer:
            if answer.status >= 400:
                raise _refusal(answer, self.url)
            return read(answer)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except PyreqwestError as error:
            raise ServerUnreachable(
                f"the Batch API at {self.url} does not answer ({type(error).__name__}); "
                "look whether it runs and can be reached from here"
            ) from error


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _decoded(answer: SyncResponse, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(bytes(answer.bytes()), type=shape)
    except msgspec.MsgspecError as error:
        raise InvalidRequest(
            f"the server answered {answer.status} with something that is no {shape.__name__.lstrip('_')}: "
            f"{error}; is this a Batch API?"
        ) from error


def _refusal(answer: SyncResponse, url: str) -> Exception:
    status = answer.status
    body = bytes(answer.bytes())
    try:
        said = msgspec.json.decode(body, type=_ErrorBody).error
    except msgspec.MsgspecError:
        said = _Error(f"{url} answered {status}")
    if status in {401, 403}:
        return ConfigError(f"{url} does not accept the key ({status}): {said.message}")
    if status in {408, 429} or status >= 500:
        return Unavailable(f"{url} cannot serve this now ({status}): {said.message}")
    code = said.code if isinstance(said.code, str) else None
    param = said.param if isinstance(said.param, str) else None
    return _REFUSALS.get(status, InvalidRequest)(said.message, code=code, param=param)

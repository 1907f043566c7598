"""`requests`: lines of OpenAI's batch format, run as they are; every body keeps its bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from bulkrate.core.lines import LineCutter
from bulkrate.errors import SourceError
from bulkrate.providers.endpoints import ENDPOINTS, normal_path
from bulkrate.toolkit.recipes.base import Again, Reading, Value
from bulkrate.toolkit.rows.table import Column, Row

_DEFAULT_ENDPOINT = "/v1/chat/completions"
_CHUNK_BYTES = 1 << 20
_LINE_BYTES_MAX = 32 << 20
_HEAD_LINES = 1
_COLUMNS = tuple(Column(name=name, kind="json") for name in ("custom_id", "url", "body"))


class _Line(msgspec.Struct):
    custom_id: str | None = None
    url: str | None = None
    body: Raw | UnsetType = UNSET
    model: str | None = None


class _Body(msgspec.Struct):
    model: str | None = None


_line = msgspec.json.Decoder(_Line)
_body = msgspec.json.Decoder(_Body)


class Requests:
    """Passes requests on, and keeps answers whole."""

    name = "requests"
    rows_per_request = 1
    columns: tuple[Column, ...] = ()
    counted: str | None = None

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def shown(self) -> str:
        """What is asked."""
        return f"each line as it stands, to {self.endpoint}"

    def skip(self, row: Row) -> str | None:  # noqa: ARG002  # a line that is there is meant
        """Nothing is left out."""
        return None

    def body(self, rows: Sequence[Row], model: str, again: Again | None = None) -> bytes:  # noqa: ARG002
        """The body as it stood in the line."""
        return bytes(rows[0]["body"])

    def read(self, body: bytes, rows: Sequence[Row]) -> list[Reading]:  # noqa: ARG002
        """Every answer is as asked: nobody said what it should be."""
        return [Value(cells={}) for _ in rows]


class RequestLines:
    """A file of requests as a source: rows with `custom_id`, `url`, `model` and the bytes of `body`.

    A line without the envelope is a plain body, and gets its line number as `custom_id`.
    """

    arrow = None
    length = None

    def __init__(self, path: Path, *, limit: int | None = None) -> None:
        self.name = str(path)
        self.columns: tuple[Column, ...] | None = _COLUMNS
        self._path = path
        self._limit = limit
        self._endpoint: str | None = None

    def mark(self) -> str | None:
        """The size and time of the file. Raises `SourceError`."""
        try:
            stat = self._path.stat()
        except OSError as error:
            raise SourceError(f"{self._path} cannot be read: {error.strerror}") from error
        return f"{stat.st_size} {stat.st_mtime_ns}"

    def endpoint(self) -> str:
        """The endpoint that the first line names; all others have to name the same. Raises `SourceError`."""
        for row in self.rows(limit=_HEAD_LINES):
            return str(row["url"])
        raise SourceError(f"{self.name} is empty; give a file with one request on each line")

    def rows(self, *, limit: int | None = None) -> Iterator[Row]:
        """One row a line. Raises `SourceError`, naming the line."""
        limit = limit if limit is not None else self._limit
        endpoint: str | None = None
        given: set[int] = set()
        for count, (number, data) in enumerate(self._lines()):
            if limit is not None and count >= limit:
                return
            row = self._row(number, data)
            endpoint = endpoint or str(row["url"])
            if row["url"] != endpoint:
                raise SourceError(
                    f'{self.name}, line {number}: "url" is {row["url"]}, but the lines before are for '
                    f"{endpoint}; a batch is for one endpoint: part the file"
                )
            digest = hash(row["custom_id"])
            if digest in given:
                raise SourceError(
                    f'{self.name}, line {number}: the custom_id "{row["custom_id"]}" was given before; '
                    "give each line its own"
                )
            given.add(digest)
            yield row

    def _row(self, number: int, data: bytes) -> Row:
        try:
            line = _line.decode(data)
            body = line.body if line.body is not UNSET else Raw(data)
            model = _body.decode(body).model
        except msgspec.MsgspecError as error:
            raise SourceError(f"{self.name}, line {number}: {error}") from error
        if line.body is not UNSET and line.custom_id is None:
            raise SourceError(f'{self.name}, line {number}: "custom_id" is missing; give each line its own')
        url = normal_path(line.url) if line.url else _DEFAULT_ENDPOINT
        if url not in ENDPOINTS:
            raise SourceError(
                f'{self.name}, line {number}: "url" is {line.url}; it may be one of {", ".join(ENDPOINTS)}'
            )
        if not model:
            raise SourceError(f'{self.name}, line {number}: "body" names no "model"')
        return {"custom_id": line.custom_id or str(number), "url": url, "model": model, "body": bytes(body)}

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        cutter = LineCutter(_LINE_BYTES_MAX)
        try:
            with self._path.open("rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    for line in cutter.feed(chunk):
                        yield line.number, self._whole(line.number, line.data)
        except OSError as error:
            raise SourceError(f"{self.name} cannot be read: {error.strerror}") from error
        for line in cutter.finish():
            yield line.number, self._whole(line.number, line.data)

    def _whole(self, number: int, data: bytes | None) -> bytes:
        if data is None:
            raise SourceError(f"{self.name}, line {number}: it is longer than {_LINE_BYTES_MAX:,} bytes")
        return data


class GivenRequests:
    """Request bodies that a program hands over, as a source like `RequestLines`."""

    arrow = None
    name = "requests"

    def __init__(self, bodies: Iterable[Mapping[str, Any]], endpoint: str, model: str | None) -> None:
        self.columns: tuple[Column, ...] | None = _COLUMNS
        self.length = len(bodies) if isinstance(bodies, Sized) else None
        self._bodies = bodies
        self._endpoint = endpoint
        self._model = model

    def mark(self) -> str | None:
        """Nobody can tell whether a program hands over the same again."""
        return None

    def rows(self) -> Iterator[Row]:
        """One row a body. Raises `SourceError` for what is no body, or has no model."""
        for number, body in enumerate(self._bodies):
            if not isinstance(body, Mapping):
                raise SourceError(
                    f"request {number} is a {type(body).__name__}; a request is a body as one sends it to "
                    f"{self._endpoint}, a dict (for texts there is bulkrate.map)"
                )
            model = body.get("model") or self._model
            if not isinstance(model, str):
                raise SourceError(f'request {number} names no "model"; put it into the body, or give model=…')
            try:
                whole = msgspec.json.encode({**body, "model": model})
            except (TypeError, ValueError, OverflowError, RecursionError) as error:
                raise SourceError(
                    f"request {number} cannot be said in JSON: {error}; give plain values"
                ) from error
            yield {"custom_id": str(number), "url": self._endpoint, "model": model, "body": whole}

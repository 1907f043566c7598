"""Checking a file on this machine as a batch would, without a server."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec

from bulkrate.blobs import LocalBlobs
from bulkrate.blobs.local import LocalReader
from bulkrate.config import Limits
from bulkrate.core.lines import LineCutter
from bulkrate.core.models import ANY, Catalogue
from bulkrate.core.plan import LineSet
from bulkrate.engine.loops.reading import Reading, checker_for
from bulkrate.errors import BlobError, InvalidRequest
from bulkrate.providers.endpoints import ENDPOINTS, normal_path
from bulkrate.wire.base import Shape
from bulkrate.wire.batches import BatchFault

_HEAD_BYTES = 1 << 20
_DEFAULT_ENDPOINT = "/v1/chat/completions"


class _Addressed(msgspec.Struct):
    url: str


class FileReport(Shape, frozen=True, kw_only=True):
    """What was found. `lines` counts every line that is not blank."""

    fit: bool
    endpoint: str
    lines: int
    lines_by_model: dict[str, int]
    faults: list[BatchFault]
    faults_left_out: int = 0


async def check_file(path: Path, *, endpoint: str | None, models: list[str] | None) -> FileReport:
    """Every fault of the file at `path`. Raises `InvalidRequest` when it cannot be read."""
    limits = Limits()
    source = _open(path)
    try:
        endpoint = endpoint or _endpoint_of(source)
        with tempfile.TemporaryDirectory() as scratch:
            reading = Reading(
                "batch_check",
                endpoint,
                checker=checker_for(endpoint, [Catalogue(tuple(models or [ANY]), {})], limits),
                isolates=False,
                already_answered=LineSet(),
                limits=limits,
                blobs=LocalBlobs(Path(scratch)),
            )
            await reading.read(source)
            reading.discard()
    finally:
        source.close()
    faults = [
        BatchFault(code=fault.code, message=fault.message, param=fault.param, line=fault.line or None)
        for fault in reading.faults
    ]
    return FileReport(
        fit=not faults,
        endpoint=endpoint,
        lines=reading.lines,
        lines_by_model=reading.lines_by_model,
        faults=faults,
        faults_left_out=reading.faults_left_out,
    )


def _open(path: Path) -> LocalReader:
    try:
        source = LocalReader(path)
        try:
            source.read_at(0, 1)  # a folder or a pipe can be opened, but not read from anywhere
        except BlobError:
            source.close()
            raise
    except BlobError as error:
        why = error.__cause__.strerror if isinstance(error.__cause__, OSError) else error
        raise InvalidRequest(f"{path} cannot be read: {why}") from error
    return source


def _endpoint_of(source: LocalReader) -> str:
    """What the first line that names a known `url` is for."""
    cutter = LineCutter(_HEAD_BYTES)
    for line in (*cutter.feed(source.read_at(0, _HEAD_BYTES)), *cutter.finish()):
        try:
            request = msgspec.json.decode(line.data or b"", type=_Addressed)
        except (msgspec.DecodeError, RecursionError):
            continue
        url = normal_path(request.url)
        if url in ENDPOINTS:
            return url
    return _DEFAULT_ENDPOINT

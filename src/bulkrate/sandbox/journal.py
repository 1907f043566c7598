"""A file with one JSON line per POST call, so that a test can count the calls made per request.

It never holds a prompt: only a hash of the body, and what the caller put into `user` and `metadata.line` to
know its requests by. Every line is written to the file (not to the disk) before its call goes on.
"""

import time
from pathlib import Path

from msgspec import UNSET, Struct, UnsetType, json

from bulkrate.sandbox.request import Request, object_field


class _Line(Struct, frozen=True):
    t: float
    path: str
    model: object
    body_sha256: str
    user: object | UnsetType = UNSET
    custom: object | UnsetType = UNSET


class Journal:
    """Appends to a file; without a path, to nothing."""

    def __init__(self, path: Path | None) -> None:
        # Unbuffered: one small write per call costs microseconds and leaves nothing to flush or lose.
        self._file = None if path is None else path.open("ab", buffering=0)

    def note(self, request: Request) -> None:
        if self._file is None:
            return
        fields = request.fields
        line = _Line(
            t=time.time(),
            path=request.path,
            model=fields.get("model"),
            body_sha256=request.digest.hex(),
            user=fields.get("user", UNSET),
            custom=object_field(fields, "metadata").get("line", UNSET),
        )
        self._file.write(json.encode(line) + b"\n")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

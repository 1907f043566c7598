"""multipart/form-data as a stream of parts.

Pushed pieces of any size, it gives events at once and holds back no more than a boundary's length. It never
sees a file or a request; the pieces may be cut anywhere, and the same body gives the same parts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import unquote

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from bulkrate.errors import InvalidRequest

# .NET sends non-ASCII names in this form too, beside a plain `filename` that is garbled.
_EXTENDED_FILENAME = re.compile(rb";\s*filename\*\s*=\s*\"?utf-8'[a-z-]*'([^;\"\s]+)", re.IGNORECASE)
_ENCODINGS = (b"", b"binary", b"8bit", b"7bit")


@dataclass(frozen=True)
class PartBegins:
    """A part named `name`. `filename` is as the client wrote it, None if it did not."""

    name: str
    filename: str | None


@dataclass(frozen=True)
class PartBytes:
    """Some bytes of the part that began last."""

    data: bytes


@dataclass(frozen=True)
class PartEnds:
    """The part that began last is whole."""


Event: TypeAlias = PartBegins | PartBytes | PartEnds


def boundary_of(content_type: str | None, *, part: str) -> bytes:
    """The boundary that a Content-Type announces."""
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind == b"multipart/form-data" and boundary:
        return boundary
    if kind == b"multipart/form-data":
        found = "multipart/form-data without a boundary (let your HTTP client set the Content-Type itself)"
    else:
        found = f"'{content_type[:128]}'" if content_type else "no Content-Type"
    raise InvalidRequest(f"Found {found}. Send multipart/form-data with the bytes in a part named '{part}'.")


class Parts:
    """A body on its way. Feed it, then finish it."""

    def __init__(self, boundary: bytes) -> None:
        self._events: list[Event] = []
        self._headers: dict[bytes, bytes] = {}
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._whole = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._on_part_begin,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_part_end": self._on_part_end,
                    "on_end": self._on_end,
                },
            )
        except FormParserError as wrong:
            raise InvalidRequest(f"The multipart boundary is not usable: {wrong}.") from None

    def feed(self, data: bytes) -> list[Event]:
        """What these bytes complete."""
        try:
            self._parser.write(data)
        except FormParserError:
            raise InvalidRequest(
                "The multipart body is broken: its parts are not separated as its Content-Type announces. "
                "Let your HTTP client build the body and set the Content-Type itself."
            ) from None
        events, self._events = self._events, []
        return events

    def finish(self) -> None:
        """Refuse a body that ended before its last boundary."""
        if not self._whole:
            raise InvalidRequest("The multipart body ends in the middle of a part. Send it again, whole.")

    def _on_part_begin(self) -> None:
        self._headers = {}

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[bytes(self._header_name).lower()] = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _on_headers_finished(self) -> None:
        self._events.append(_begins(self._headers))

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(PartBytes(data[start:end]))

    def _on_part_end(self) -> None:
        self._events.append(PartEnds())

    def _on_end(self) -> None:
        self._whole = True


def _begins(headers: dict[bytes, bytes]) -> PartBegins:
    disposition = headers.get(b"content-disposition", b"")
    _, options = parse_options_header(disposition)
    if b"name" not in options:
        raise InvalidRequest("A part of the multipart body has no name in its Content-Disposition.")
    name = options[b"name"].decode("utf-8", "replace")
    encoding = headers.get(b"content-transfer-encoding", b"").strip().lower()
    if encoding not in _ENCODINGS:
        raise InvalidRequest(
            f"The part '{name[:64]}' has a Content-Transfer-Encoding; send its bytes as they are.",
            param=name[:64],
        )
    if extended := _EXTENDED_FILENAME.search(disposition):
        return PartBegins(name, unquote(extended[1].decode("ascii", "replace"), errors="replace"))
    filename = options.get(b"filename")
    return PartBegins(name, None if filename is None else filename.decode("utf-8", "replace"))

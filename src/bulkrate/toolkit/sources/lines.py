"""Files of lines: bytes to numbered lines of text, with the faults of encoding named by line."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import BinaryIO

from bulkrate.errors import SourceError

#: A longer line is no line: a table's largest cell has some megabytes, and an unclosed quote has no end.
LINE_BYTES_MAX = 64 << 20
_PIECE_BYTES = 1 << 18

_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def lines(stream: BinaryIO, name: str) -> Iterator[str]:
    """The lines of a UTF-8 stream with their ends, one after the other. Raises `SourceError`, `OSError`."""
    number = 0
    while raw := stream.readline(LINE_BYTES_MAX + 1):
        number += 1
        if len(raw) > LINE_BYTES_MAX:
            raise SourceError(
                f"{name}, line {number} is longer than 64 MiB; are its line ends or quotes lost?"
            )
        if number == 1:
            raw = _first(raw, name)
        try:
            text = raw.decode()
        except UnicodeDecodeError as fault:
            raise _no_utf8(f"{name}, line {number}", fault) from None
        yield text


def pieces(stream: BinaryIO, name: str) -> Iterator[str]:
    """A UTF-8 stream as pieces of text, wherever its lines end. Raises `SourceError`, `OSError`."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset = 0
    while raw := stream.read(_PIECE_BYTES):
        if offset == 0:
            raw = _first(raw, name)
        try:
            yield decoder.decode(raw)
        except UnicodeDecodeError as fault:
            raise _no_utf8(f"{name}, near byte {offset}", fault) from None
        offset += len(raw)


def _no_utf8(where: str, fault: UnicodeDecodeError) -> SourceError:
    byte = fault.object[fault.start]
    return SourceError(
        f"{where}: byte {byte:#04x} is no UTF-8; "
        "save the file as UTF-8 (iconv -f WINDOWS-1252 -t UTF-8 old > new)"
    )


def _first(raw: bytes, name: str) -> bytes:
    if raw.startswith(_UTF16):
        raise SourceError(f"{name} is UTF-16; save it as UTF-8 (iconv -f UTF-16 -t UTF-8 old > new)")
    if raw.startswith((b"PAR1", b"ARROW1", b"PK\x03\x04", b"\x1f\x8b")):
        raise SourceError(
            f"{name} is no text, but a table or an archive; give it the name or format of what it is"
        )
    return raw.removeprefix(_BOM)

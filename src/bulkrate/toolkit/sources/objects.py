"""JSON: one object per line (JSONL), or one array of objects; an object is a row."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from bulkrate.errors import SourceError
from bulkrate.toolkit import json_text
from bulkrate.toolkit.addresses import File, Standard, translated
from bulkrate.toolkit.rows.table import Row
from bulkrate.toolkit.sources.lines import LINE_BYTES_MAX, lines, pieces


class Lines:
    """One object per line; empty lines are passed over. Rows may differ in what they name."""

    columns = None
    arrow = None
    length = None

    def __init__(self, file: File | Standard) -> None:
        self._file = file
        self.name = file.name

    def mark(self) -> str | None:
        """Size and time of the file."""
        return self._file.mark()

    def rows(self) -> Iterator[Row]:
        """All rows. Raises `SourceError`, naming the line."""
        with translated(self.name, SourceError), self._file.open() as stream:
            for number, line in enumerate(lines(stream, self.name), start=1):
                if line.isspace():
                    continue
                try:
                    row = json_text.decode(line)
                except ValueError as fault:
                    raise SourceError(f"{self.name}, line {number} is no JSON: {_reason(fault)}") from None
                yield _object(row, f"{self.name}, line {number}")


class Array:
    """One array of objects, read object by object. A file that begins with an object is read as lines."""

    columns = None
    arrow = None
    length = None

    def __init__(self, file: File | Standard) -> None:
        self._file = file
        self.name = file.name

    def mark(self) -> str | None:
        """Size and time of the file."""
        return self._file.mark()

    def rows(self) -> Iterator[Row]:
        """All rows. Raises `SourceError`, naming the row."""
        with translated(self.name, SourceError), self._file.head() as stream:
            first = _Text(pieces(stream, self.name)).next_sign()
        if first == "{":
            yield from Lines(self._file).rows()
            return
        if first != "[":
            raise SourceError(f"{self.name} holds no array of objects; it must begin with '['")
        with translated(self.name, SourceError), self._file.open() as stream:
            yield from self._items(_Text(pieces(stream, self.name)))

    def _items(self, text: _Text) -> Iterator[Row]:
        text.skip("[")
        number = 0
        while (sign := text.next_sign()) != "]":
            if number and sign != ",":
                raise SourceError(
                    f"{self.name}, behind row {number}: neither ',' nor ']' follows; is the end missing?"
                )
            if number:
                text.skip(",")
            number += 1
            yield _object(self._item(text, number), f"{self.name}, row {number}")

    def _item(self, text: _Text, number: int) -> Any:
        while True:
            try:
                return json_text.whole(text.value())
            except RecursionError:
                raise SourceError(f"{self.name}, row {number} is nested too deeply") from None
            except ValueError as fault:
                if text.more():
                    continue
                where = f"{self.name}, row {number}"
                raise SourceError(f"{where} is no JSON, or longer than 64 MiB: {_reason(fault)}") from None


class _Text:
    """A text read piece by piece: what is still ahead, and no more of it than the next value needs."""

    def __init__(self, pieces: Iterator[str]) -> None:
        self._pieces = pieces
        self._text = ""
        self._at = 0
        self._decode = json.JSONDecoder(parse_constant=_no_constant).raw_decode

    def next_sign(self) -> str:
        """The next sign that is no space; empty at the end."""
        while True:
            while self._at < len(self._text):
                if not (sign := self._text[self._at]).isspace():
                    return sign
                self._at += 1
            if not self.more():
                return ""

    def skip(self, sign: str) -> None:
        """Pass over a sign that is known to be next."""
        if self.next_sign() == sign:
            self._at += 1

    def value(self) -> Any:
        """The value that begins next. Raises `ValueError` if it is none, or is not all there yet."""
        self.next_sign()
        value, self._at = self._decode(self._text, self._at)
        return value

    def more(self) -> bool:
        """Read on, each time as much again as is ahead already. False at the end, or when it is too much."""
        ahead = self._text[self._at :]
        if len(ahead) > LINE_BYTES_MAX:
            return False
        parts, size = [ahead], 0
        for piece in self._pieces:
            parts.append(piece)
            size += len(piece)
            if size >= len(ahead):
                break
        self._text, self._at = "".join(parts), 0
        return size > 0


def _object(row: Any, where: str) -> Row:
    if isinstance(row, dict):
        return row
    raise SourceError(f'{where} is no object; a row must look like {{"text": …}}')


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _reason(fault: Exception) -> str:
    """The decoder's reason and place, without the line itself."""
    return f"{fault.msg} (character {fault.pos})" if isinstance(fault, json.JSONDecodeError) else str(fault)

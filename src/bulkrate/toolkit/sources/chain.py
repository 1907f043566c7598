"""Several files of one shape as one source, one after the other by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bulkrate.errors import SourceError
from bulkrate.toolkit.addresses import File, marks
from bulkrate.toolkit.rows.table import Column, Row
from bulkrate.toolkit.sources.base import Source


class Chain:
    """All rows of `parts`. Raises `SourceError` if their columns or types do not agree."""

    def __init__(self, name: str, files: Sequence[File], parts: Sequence[Source]) -> None:
        self.name = f"{name} ({len(parts)} files)"
        self._files = files
        self._parts = parts
        self.columns: tuple[Column, ...] | None = parts[0].columns
        for part in parts[1:]:
            self._agree(part)
        self.arrow = _common(parts)
        lengths = [part.length for part in parts if part.length is not None]
        self.length = sum(lengths) if len(lengths) == len(parts) else None

    def mark(self) -> str | None:
        """Of all the files: it changes when one of them does, or goes, or comes."""
        return marks(self._files)

    def rows(self) -> Iterator[Row]:
        """All rows of the first file, then of the second, and so on. Raises `SourceError`."""
        for part in self._parts:
            yield from part.rows()

    def _agree(self, part: Source) -> None:
        first = self._parts[0]
        ours, theirs = _names(first), _names(part)
        if ours != theirs:
            raise SourceError(
                f"{part.name} has the columns {', '.join(theirs)}, but {first.name} has {', '.join(ours)}; "
                "read files of different columns one by one"
            )
        for mine, other in zip(first.columns or (), part.columns or (), strict=True):
            if mine != other:
                raise SourceError(
                    f"{part.name}: column {other.name!r} holds {other.kind}, in {first.name} {mine.kind}; "
                    "give it one type in all files"
                )


def _common(parts: Sequence[Source]) -> bytes | None:
    """The schema that holds the cells of all parts."""
    schemas = {part.arrow for part in parts}
    if len(schemas) == 1:
        return schemas.pop()
    from bulkrate.toolkit.rows import arrow  # noqa: PLC0415 they have schemas, so Arrow is there

    return arrow.unified({part.name: part.arrow for part in parts})


def _names(source: Source) -> list[str]:
    return [column.name for column in source.columns or ()]

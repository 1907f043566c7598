"""Which bytes a `Range` header asks for.

Pure arithmetic after RFC 9110, section 14; what we do not understand is ignored, as it asks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bulkrate.errors import RangeNotSatisfiable

_SINGLE = re.compile(r"bytes\s*=\s*([0-9]{0,19})\s*-\s*([0-9]{0,19})", re.IGNORECASE)


@dataclass(frozen=True)
class Span:
    """Bytes from `start` up to, not including, `end`."""

    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start


def span_of(header: str | None, size: int) -> Span | None:
    """The span that a header asks for out of `size` bytes; None means all of them.

    Several ranges, other units and nonsense give None. A span that lies wholly outside is refused.
    """
    match = _SINGLE.fullmatch((header or "").strip())
    if match is None:
        return None
    first, last = match.groups()
    if not first:
        return _suffix(last, size)
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= size:
        raise RangeNotSatisfiable(f"The range '{header}' begins at or after the end: there are {size} bytes.")
    return Span(start, min(int(last) + 1, size) if last else size)


def _suffix(last: str, size: int) -> Span | None:
    if not last or size == 0:
        return None
    if int(last) == 0:
        raise RangeNotSatisfiable("The range asks for the last 0 bytes. Ask for at least one.")
    return Span(max(size - int(last), 0), size)

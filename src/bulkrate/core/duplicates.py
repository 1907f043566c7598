"""Finding a `custom_id` that stands twice among millions, in little memory.

One pass marks each digest in a bit field; a digest that finds its bits already set *may* have been there
before and is marked in a second field. Afterwards only the few lines whose digest is in the second field are
compared, a bounded share at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from bulkrate.core.plan import Planned

# 16 bits a line and two marks each: one line in seventy is compared for nothing.
_BITS_PER_LINE = 16
_BITS_MIN = 1 << 16
_BITS_MAX = 1 << 28
# How many ids are compared at once; about 100 bytes each.
_COMPARED_AT_ONCE = 250_000


class DuplicateFinder:
    """Watches the digests of one batch, of about `lines` lines."""

    def __init__(self, lines: int) -> None:
        bits = min(max(_BITS_MIN, 1 << (lines * _BITS_PER_LINE).bit_length()), _BITS_MAX)
        self._mask = bits - 1
        self._seen = bytearray(bits >> 3)
        self._again = bytearray(bits >> 3)
        self._suspects = 0

    def watch(self, digest: int) -> None:
        """See a line's digest go by."""
        if _mark(self._seen, digest, self._mask):
            # Counted once each: a file of one id a million times over has one suspect.
            self._suspects += not _mark(self._again, digest, self._mask)

    def duplicates(self, plan: Callable[[], Iterable[Planned]]) -> Iterator[tuple[Planned, int]]:
        """Each line whose `custom_id` stood before, with the line where it first stood.

        Reads the `plan` again, in file order or not.
        """
        if not self._suspects:
            return
        shares = 1 + self._suspects * 2 // _COMPARED_AT_ONCE
        for share in range(shares):
            first: dict[int, int] = {}
            for record in self._suspected(plan, share, shares):
                first[record.digest] = min(record.line, first.get(record.digest, record.line))
            for record in self._suspected(plan, share, shares):
                if record.line != first[record.digest]:
                    yield record, first[record.digest]

    def _suspected(self, plan: Callable[[], Iterable[Planned]], share: int, shares: int) -> Iterator[Planned]:
        for record in plan():
            if record.digest % shares == share and _marked(self._again, record.digest, self._mask):
                yield record


def _mark(field: bytearray, digest: int, mask: int) -> bool:
    """Set the two bits; whether both were set before."""
    a, b = digest & mask, (digest >> 32) & mask
    byte_a, bit_a = a >> 3, 1 << (a & 7)
    byte_b, bit_b = b >> 3, 1 << (b & 7)
    before = field[byte_a] & bit_a and field[byte_b] & bit_b
    field[byte_a] |= bit_a
    field[byte_b] |= bit_b
    return bool(before)


def _marked(field: bytearray, digest: int, mask: int) -> bool:
    a, b = digest & mask, (digest >> 32) & mask
    return bool(field[a >> 3] >> (a & 7) & 1 and field[b >> 3] >> (b & 7) & 1)

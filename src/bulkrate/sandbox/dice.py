"""Chance without chance: numbers drawn from the seed and the request, so that a rehearsal repeats exactly.

It never uses the clock, the process's random state or Python's randomised `hash`.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

from msgspec import Struct

T = TypeVar("T")


class Dice(Struct, frozen=True):
    """Draws named numbers; the same name gives the same number."""

    root: bytes

    @classmethod
    def of(cls, seed: int, *facts: bytes) -> "Dice":
        root = blake2b(b"%d" % seed, digest_size=16)
        for fact in facts:
            root.update(b"%d:" % len(fact))
            root.update(fact)
        return cls(root.digest())

    def bytes_of(self, name: str, size: int = 8) -> bytes:
        return blake2b(name.encode(), digest_size=size, key=self.root).digest()

    def number(self, name: str) -> int:
        return int.from_bytes(self.bytes_of(name), "big")

    def share(self, name: str) -> float:
        """From 0 up to, never including, 1."""
        return (self.number(name) >> 11) / (1 << 53)

    def pick(self, name: str, choices: Sequence[T]) -> T:
        return choices[self.number(name) % len(choices)]

    def identity(self, prefix: str, name: str = "id") -> str:
        return prefix + self.bytes_of(name, 12).hex()

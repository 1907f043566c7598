"""Lines that fail all together, at an upstream that stays there.

An engine that dies behind a gateway takes everything under way with it, and the gateway answers each of those
lines 500 or 502, as it answers a single bad line. What tells the two apart is who else was under way: when
an engine dies nobody is answered who was sent before. A line that fails for itself fails beside others that
are answered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

_SPELLS_KEPT = 64

#: An attempt that failed: when it was sent, and when it failed.
Fall = tuple[float, float]


class _Spell:
    """A time in which lines failed, and nobody was answered who was sent after the first of them."""

    __slots__ = ("began", "ended", "fell", "first", "several", "survived")

    def __init__(self, line: object, now: float) -> None:
        self.began = self.ended = now
        #: The line that failed first, and whether another one failed as well.
        self.first = line
        self.several = False
        #: Of those under way when it began, how many failed, and how many were answered.
        self.fell = 1
        self.survived = 0

    def took_all(self, sent_at: float, failed_at: float, *, benefit: bool) -> bool:
        """Whether an attempt failed in it, and the others did who were sent since it began, or most of those
        who were under way: a few answers may have been on their way.

        `benefit` says what is thought of one that failed first, while nothing is heard of the others yet.
        """
        if not self.began <= failed_at <= self.ended or not (self.several or benefit):
            return False
        return sent_at > self.began or self.survived <= self.fell


class Company:
    """The failures of one model at one upstream. Times are seconds of any clock that only goes forward."""

    def __init__(self) -> None:
        self._spells: deque[_Spell] = deque(maxlen=_SPELLS_KEPT)
        self._goes_on = False

    def failed(self, line: object, sent_at: float, *, now: float) -> None:
        """An attempt at a line failed as those do whose engine dies."""
        if self._goes_on:
            spell = self._spells[-1]
            spell.several |= line is not spell.first
            spell.fell += sent_at <= spell.began
            spell.ended = now
        else:
            self._spells.append(_Spell(line, now))
            self._goes_on = True

    def answered(self, sent_at: float) -> None:
        """An attempt was answered."""
        if self._goes_on and sent_at >= self._spells[-1].began:
            self._goes_on = False
        for spell in reversed(self._spells):
            if spell.began <= sent_at:
                return
            spell.survived += 1

    def together(self, falls: Sequence[Fall]) -> bool:
        """Whether each of these attempts failed with everybody else, as far as is known by now."""
        known = [any(spell.took_all(*fall, benefit=False) for spell in self._spells) for fall in falls]
        if not any(known):
            return False
        # Those who fell with it just now may not have told yet; its other falls say enough.
        latest = self._spells[-1]
        return all(
            sure or (self._goes_on and latest.took_all(*fall, benefit=True))
            for sure, fall in zip(known, falls, strict=True)
        )

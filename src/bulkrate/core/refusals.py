"""A line that is refused for want of capacity (429, 503), again and again, while others are answered.

Such a refusal says nothing against a line, however often it comes, as long as the upstream refuses others
too. But some upstreams say 429 or 503 of what they will never answer: a prompt larger than the tokens of a
whole minute, a replica that fails on one input. Then whoever is refused is always the same.

So each refusal is weighed against what became of the lines that were sent to the same upstream just before,
and just after. If a share `p` of those was refused, on whichever side that was more, a line like any other
was refused with a chance of `p`; the product over all refusals of a line is the chance that it had bad luck.
Where nobody was answered, before or after, `p` is 1: an upstream that refuses everybody for some seconds or
for days speaks against nobody.
"""

from __future__ import annotations

from math import log

# A line is singled out when the odds are one in a thousand million that it was bad luck: in a batch of a
# million lines, one in a thousand of a single mistake. It takes eight refusals with a dozen others answered
# around each: a hundred in all. Never fewer than eight, since refusals that follow each other are not as
# independent as the product has it.
_REFUSALS_MIN = 8
_CHANCE_LOG_MAX = log(1e-9)
# How many seconds before, and how many after, are still "just" so. Who is refused for longer than both
# together, by the clock of a quota perhaps, has no neighbours that were answered.
_BESIDE_S = 2
# What is kept: of a line its latest refusals, of an upstream the latest seconds in which it was sent lines.
_REFUSALS_KEPT = 64
_SECONDS_KEPT = 1_000


class Refusals:
    """The refusals of one line."""

    __slots__ = ("seconds", "singled_out")

    def __init__(self) -> None:
        #: In which seconds the attempts were sent that were refused, each second once.
        self.seconds: list[int] = []
        #: Whether the latest of them is the line's own affair.
        self.singled_out = False

    @property
    def repeated(self) -> bool:
        """Whether it was refused in more than one second."""
        return len(self.seconds) > 1


class Turnout:
    """What became of the lines of one model at one upstream, by the second in which they were sent.

    Times are seconds of any clock that only goes forward.
    """

    def __init__(self) -> None:
        #: How many were answered, and how many refused.
        self._seconds: dict[int, list[int]] = {}

    def answered(self, sent_at: float) -> None:
        """An attempt was answered."""
        self._of(int(sent_at))[0] += 1

    def refused(self, refusals: Refusals, sent_at: float) -> None:
        """An attempt at a line was refused; `refusals` are its own, and come to hold this one."""
        second = int(sent_at)
        self._of(second)[1] += 1
        if second not in refusals.seconds[-1:]:
            refusals.seconds.append(second)
            del refusals.seconds[:-_REFUSALS_KEPT]
        refusals.singled_out = (
            len(refusals.seconds) >= _REFUSALS_MIN
            and sum(map(self._chance_log, refusals.seconds)) <= _CHANCE_LOG_MAX
        )

    def _of(self, second: int) -> list[int]:
        found = self._seconds.get(second)
        if found is None:
            found = self._seconds[second] = [0, 0]
            if len(self._seconds) > _SECONDS_KEPT:
                del self._seconds[min(self._seconds)]
        return found

    def _chance_log(self, second: int) -> float:
        """The logarithm of the chance that a line like any other was refused in this second."""
        before = self._share_refused(range(second - _BESIDE_S, second + 1))
        after = self._share_refused(range(second, second + _BESIDE_S + 1))
        return log(max(before, after))

    def _share_refused(self, seconds: range) -> float:
        found = [self._seconds[second] for second in seconds if second in self._seconds]
        refused = sum(badly for _, badly in found)
        # Without a refusal it was another upstream's, or it is forgotten: that says nothing.
        return refused / (refused + sum(well for well, _ in found)) if refused else 1.0

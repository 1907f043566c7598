"""Finding the window of an upstream that says nothing about itself: try a width, see what comes back, keep or
undo it.

Goodput decides, never latency: on an engine that batches, latency grows long before the throughput is
reached. First the width doubles as long as that pays. Then, from time to time, a somewhat wider or narrower
one is tried. Of two widths that give the same the narrower is kept: it costs the upstream less, and a cancel
less is thrown away.
"""

from __future__ import annotations

from bulkrate.core.window.rate import Block, Rate

WIDTH_MIN = 16.0
# Less in use than this, and the lines are short, not the window. More, and what a cut left behind is still
# draining.
_USED_MIN = 0.8
_USED_MAX = 1.1
# With more answers than this to lines that were tried before, goodput tells of trouble, not of width.
_RETRIED_MAX = 0.2

_DOUBLE = 2.0
# A doubling that gains less than the first is undone; one that gains less than the second was the last.
_DOUBLE_GAIN = 1.12
_DOUBLE_AGAIN = 1.4
# An upstream whose rounds take so long forgives a leap too far only after minutes: from here on the steps are
# small.
_CAREFUL_WIDTH = 128
_CAREFUL_S = 20.0
# A doubling is judged by so many answers, or what has come after so long, unless it is quite unsure then.
_RAMP_ANSWERS = 40
_RAMP_S = 3.0
_UNSURE_ERROR = 0.2

_UPS = (1.4, 1.15)
_DOWNS = (0.7, 0.85)
# Of what a step could gain at most, this much must be gained.
_GAIN_SHARE = 0.05
# A step that gains more than this is followed by a large one.
_STEEP = 1.05
# The narrower width is kept when it loses less than this, and that is sure.
_LOSS_MAX = 0.005
_SURE_ERROR = 0.012
# Ties go to the wider width, up to so many times the widest that has gained for sure.
_ROOM = 1.5

_ANSWERS_MIN = 8
_SECONDS_MIN = 0.2
# The fewest answers that may decide: against a wider width at once, for or against it in time, for a narrower
# one.
_EARLY_ANSWERS = 16
_UP_ANSWERS = 32
_DOWN_ANSWERS = 64
# What is undecided after so long, or so many answers, stays so.
_SECONDS_MAX = 20.0
_ANSWERS_MAX = 4000
# How long a width is kept before another is tried: at first, and at most, after trials that came to nothing.
_HOLD_ROUNDS = 4.0
_HOLD_ROUNDS_MAX = 32.0
_HOLD_S = 5.0


class Blind:
    """The search for one upstream's window. It is told of blocks of answers, and tells the width."""

    def __init__(self, width: float, *, width_max: float, known: bool = False) -> None:
        #: The width that was last found good.
        self.width = width
        #: Whether it was found, rather than begun with.
        self.proven = known
        #: Below this it is not looked for: a queue costs nothing, an idle place does. Lower once the upstream
        #: refused work.
        self.floor = WIDTH_MIN
        #: Whether narrower widths are tried.
        self.narrows = True
        self._max = width_max
        self._ramping = not known
        self._factor = 1.0
        self._base = Rate()
        self._trial = Rate()
        self._settling = 0.0 if not known else width
        self._top = 0.0
        self._flattered = False
        self._look_at = 0.0
        self._up = 0
        self._down = 0
        self._upwards = True
        self._hold_rounds = _HOLD_ROUNDS
        self._hold_answers = 0.0
        self._hold_s = 0.0

    @property
    def limit(self) -> float:
        """The width to use now."""
        return min(self._max, max(self.floor, self.width * self._factor))

    @property
    def settled(self) -> bool:
        """Whether answers count that were sent before the width was changed: from then on to leave them out
        would be to leave out the slow ones.
        """
        return not self._ramping and self._settling <= 0

    def interrupted(self) -> None:
        """What is being measured is worth nothing, nor is the trial under way."""
        self._factor = 1.0
        self._base.clear()
        self._trial.clear()
        self._settling = self.width

    def start_at(self, width: float) -> None:
        """Search on from a width that something else has found."""
        self.width = min(self._max, max(self.floor, width))
        self._ramping = False
        self.interrupted()

    def add(self, block: Block) -> None:
        """Some more answers have come."""
        if block.used < _USED_MIN or block.retried > _RETRIED_MAX:
            self.interrupted()
        elif block.used <= _USED_MAX:
            if self._ramping:
                self._ramp(block)
            elif self._factor == 1.0:
                self._hold(block)
            elif self._settling > 0:
                self._settle(block)
            else:
                self._search(block)

    # Doubling. Each width is measured alike, from the moment it is set, so that what is wrong with so early a
    # measurement is wrong with both sides of a comparison.

    def _ramp(self, block: Block) -> None:
        self._trial.add(block)
        self._settling -= block.answers
        if self._settling > 0 or not _enough(self._trial, self.width / 4):
            return
        if self._trial.answers < _RAMP_ANSWERS and self._trial.seconds < _RAMP_S:
            return
        if self._trial.error > _UNSURE_ERROR and self._trial.answers < 4 * self.limit:
            return
        gain, error = self._trial.over(self._base)
        if not self._base.answers:
            self._double()
        elif abs(gain - _DOUBLE_GAIN) < error and self._trial.answers < self.limit:
            return
        elif gain + error > _DOUBLE_AGAIN and (
            self.limit < _CAREFUL_WIDTH or self._trial.seconds < _CAREFUL_S
        ):
            self._double()
        elif gain + error > _DOUBLE_GAIN:
            self._ramping = False
            self._flattered = True
            self._down = 1 if self._trial.seconds >= _CAREFUL_S else 0
            self._accept()
        else:
            self._ramping = False
            self._top = self.limit
            self._end(0)

    def _double(self) -> None:
        self.width = self.limit
        self._base, self._trial = self._trial, self._base
        self._trial.clear()
        self._factor = _DOUBLE
        self._settling = self.width
        if self.limit == self.width:
            self._ramping = False
            self._end(0)

    # Steps from the plateau. What was under way before a step is waited for, and then as many answers as it
    # takes.

    def _hold(self, block: Block) -> None:
        if self._settling > 0:
            self._settling -= block.answers
            return
        self._base.add(block)
        self._hold_answers -= block.answers
        self._hold_s -= block.seconds
        if self._hold_answers <= 0 and self._hold_s <= 0 and _enough(self._base, self.width / 2):
            self._step()

    def _settle(self, block: Block) -> None:
        """The first answers after a step flatter the wider window: a loss that shows in them is certain."""
        self._settling -= block.answers
        self._trial.add(block)
        if self._factor > 1 and self._trial.answers >= max(_EARLY_ANSWERS, self.limit / 8):
            gain, error = self._trial.over(self._base)
            if gain + 2 * error < 1:
                self._up = len(_UPS) - 1  # the plateau ends here; what it is worth to look closer can wait
                self._reject()
                return
        if self._settling <= 0:
            self._trial.clear()

    def _search(self, block: Block) -> None:
        self._trial.add(block)
        if self._trial.answers < self._look_at or self._trial.seconds < _SECONDS_MIN:
            return
        self._look_at = 1.5 * self._trial.answers
        gain, error = self._trial.over(self._base)
        last = _last(self._trial, self.limit)
        if self._factor > 1:
            need = _need(self._factor)
            if gain - error > need:
                self._top = max(self._top, _ROOM * self.limit)
                if gain > _STEEP and self._trial.seconds < _CAREFUL_S:
                    self._up = 0
                self._accept()
            elif gain + error < need:
                self._reject()
            elif last:
                # Not to be told apart. A window too wide costs less than one too narrow.
                if gain > need or (gain > 1 and self.limit <= self._top):
                    self._accept()
                else:
                    self._reject()
        elif gain - 2 * error > 1 - _LOSS_MAX or (gain > 1 - _LOSS_MAX and error < _SURE_ERROR):
            self._accept()
        elif gain + error < 1 - _LOSS_MAX or last:
            self._reject()

    def _step(self) -> None:
        self._factor = _UPS[self._up] if self._upwards else _DOWNS[self._down]
        if self.limit == self.width:
            self._reject()
            return
        self._trial.clear()
        self._settling = max(self.limit, self.width)
        self._look_at = max(_UP_ANSWERS, self.limit / 2) if self._upwards else max(_DOWN_ANSWERS, self.limit)

    def _accept(self) -> None:
        self.width = self.limit
        self.proven = True
        self._base, self._trial = self._trial, self._base
        self._hold_rounds = _HOLD_ROUNDS
        self._step()

    def _reject(self) -> None:
        if self._upwards and self._up < len(_UPS) - 1:
            # Perhaps the step was too large. Or the width it was compared with had been flattered by the
            # doubling.
            self._up += not self._flattered
            self._flattered = False
            self._end(0)
            return
        if not self._upwards:
            self._down = len(_DOWNS) - 1
        self._upwards = not self._upwards or not self.narrows
        self._end(self._hold_rounds)
        self._hold_rounds = min(_HOLD_ROUNDS_MAX, self._hold_rounds * 1.5)

    def _end(self, hold_rounds: float) -> None:
        """Back to the width that is good, for so many rounds."""
        self.proven = True
        self._settling = self.limit
        self._factor = 1.0
        self._trial.clear()
        self._base.clear()
        self._hold_answers = hold_rounds * self.width
        self._hold_s = _HOLD_S if hold_rounds else 0.0


def _enough(rate: Rate, answers: float) -> bool:
    return rate.answers >= max(_ANSWERS_MIN, answers) and rate.seconds >= _SECONDS_MIN


def _need(factor: float) -> float:
    return 1 + _GAIN_SHARE * (factor - 1)


def _last(rate: Rate, width: float) -> bool:
    return rate.answers >= max(width, 50.0) and (rate.seconds >= _SECONDS_MAX or rate.answers >= _ANSWERS_MAX)

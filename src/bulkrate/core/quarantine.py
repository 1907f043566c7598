"""Finding the line that kills its upstream.

When an inference server dies, everything in flight dies with it, and any of those lines may be the cause.
Sent again all together they would kill it again, for ever. So the suspects run alone, in halves:

- A group whose lines all come back is cleared.
- A group that dies holds the culprit. Whoever was not in flight then is cleared, and the group is halved.
- A line that dies alone is not yet guilty: the server may be dying of something else. A line above suspicion
  runs alone first, and if that comes back, the suspect once more. A second death convicts it.

With N lines in flight at the first death that takes at most log2(N) + 2 deaths in all (rounded up). A server
that dies of the line above suspicion too is itself at fault, and everybody is cleared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Generic, TypeVar

L = TypeVar("L")


class Turn(Enum):
    """Who may be sent while there are suspects."""

    SUSPECT = "the next line of the group under test"
    CONTROL = "one line above suspicion, alone"
    NOBODY = "wait for what is in flight"


class Quarantine(Generic[L]):
    """The suspects of one upstream.

    Lines that are cleared without having run go to `clear`, a convicted one to `convict`.
    """

    def __init__(self, *, clear: Callable[[L], None], convict: Callable[[L], None]) -> None:
        self._clear = clear
        self._convict = convict
        #: Groups still to be tested; the first is under test.
        self._groups: list[list[L]] = []
        self._in_flight: list[L] = []
        #: The one line that died alone, and whether its control came back.
        self._accused: L | None = None
        self._control_wanted = False
        self._control_in_flight = False

    def __bool__(self) -> bool:
        """Whether there are suspects, so that nobody else may be sent."""
        return bool(self._groups or self._in_flight or self._control_in_flight)

    def __len__(self) -> int:
        """How many suspects are not in flight."""
        return sum(map(len, self._groups))

    @property
    def turn(self) -> Turn:
        """Who may be sent now."""
        if self._control_in_flight:
            return Turn.NOBODY
        if self._control_wanted:
            return Turn.CONTROL
        return Turn.SUSPECT if self._groups and self._groups[0] else Turn.NOBODY

    def suspect(self, lines: Sequence[L]) -> None:
        """Outside of any test, the upstream died with these lines in flight."""
        if len(lines) == 1 and not self:
            self._died_alone(lines[0])
        else:
            self._groups += _halves(list(lines))

    def send(self) -> L:
        """The next line of the group under test is sent; only at `Turn.SUSPECT`."""
        line = self._groups[0].pop()
        self._in_flight.append(line)
        return line

    def send_control(self) -> None:
        """A line above suspicion is sent; only at `Turn.CONTROL`."""
        self._control_wanted = False
        self._control_in_flight = True

    def no_control(self) -> None:
        """There is no line above suspicion: do without."""
        self._control_wanted = False

    def came_back(self, line: L) -> None:
        """A suspect's attempt ended, and the upstream lived."""
        self._in_flight.remove(line)
        if self._accused is line:
            self._accused = None
        if not self._in_flight and self._groups and not self._groups[0]:
            self._groups.pop(0)

    def not_sent(self, line: L) -> None:
        """A suspect could not be sent after all."""
        if line in self._in_flight:
            self._in_flight.remove(line)
            self._groups[0].append(line)

    def control_came_back(self) -> None:
        """The line above suspicion ended, and the upstream lived."""
        self._control_in_flight = False

    def drop(self, unwanted: Callable[[L], bool]) -> None:
        """Forget suspects that nobody wants to be sent any more."""
        self._groups = [[line for line in group if not unwanted(line)] for group in self._groups]
        first_is_out = bool(self._in_flight)
        self._groups = [
            group for number, group in enumerate(self._groups) if group or (first_is_out and not number)
        ]
        if self._accused is not None and unwanted(self._accused):
            self._accused, self._control_wanted = None, False

    def release(self) -> list[L]:
        """Give away every suspect that is not in flight: somebody else tests them."""
        released = [line for group in self._groups for line in group]
        self._groups = [[]] if self._in_flight else []
        self._accused, self._control_wanted = None, False
        return released

    def died(self) -> None:
        """The upstream died while suspects, or the control, were in flight."""
        if self._control_in_flight:
            self._end()
            return
        alone, self._in_flight = self._in_flight, []
        cleared = [line for group in self._groups for line in group]
        self._groups = []
        if len(alone) == 1:
            self._died_alone(alone[0])
        else:
            self._groups = _halves(alone)
        for line in cleared:
            self._clear(line)

    def _died_alone(self, line: L) -> None:
        if self._accused is line:
            self._accused = None
            self._convict(line)
            return
        self._accused = line
        self._control_wanted = True
        self._groups = [[line]]

    def _end(self) -> None:
        """Nobody is guilty."""
        self._control_in_flight = False
        for line in self.release():
            self._clear(line)


def _halves(lines: list[L]) -> list[list[L]]:
    middle = (len(lines) + 1) // 2
    return [half for half in (lines[:middle], lines[middle:]) if half]

"""The inquest into the death of an upstream: which of the lines in flight was it?

While suspects are tested, nothing else is sent to that upstream; the other upstreams go on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bulkrate.core.outcome import Failed, Failure, Outcome
from bulkrate.core.quarantine import Quarantine, Turn
from bulkrate.dispatch.base import Work
from bulkrate.dispatch.lane import Lane

# What falls this long before an upstream is found dead, fell with it.
_DEATH_S = 2.0

Suspect = tuple[Lane, Work]


@dataclass(slots=True, eq=False)
class Fallen:
    """A line that failed and waits to be tried again."""

    lane: Lane
    work: Work
    at: float
    charged: bool
    #: None when it waits no more. What a timer says of itself does not tell: uvloop's are up a rounding error
    #: before their time.
    timer: asyncio.TimerHandle | None = None


def fell(outcome: Outcome | None) -> bool:
    """Whether an attempt ended as when its upstream dies."""
    return isinstance(outcome, Failed) and outcome.failure.is_fall


class Inquest:
    """The suspects of one upstream, and their tests.

    `attempt` sends a line and `deliver` gives it what came of that; `alive` looks whether the upstream is
    there; `ready` returns when it may be sent again; `control` takes a line above suspicion, if there is one;
    `on_return` is told of lines that are above suspicion again.
    """

    def __init__(
        self,
        *,
        attempt: Callable[[Lane, Work], Awaitable[Outcome | None]],
        deliver: Callable[[Lane, Work, Outcome | None], Awaitable[None]],
        alive: Callable[[], Awaitable[bool]],
        ready: Callable[[], Awaitable[None]],
        control: Callable[[], Suspect | None],
        width: Callable[[], int],
        on_return: Callable[[Lane], None],
    ) -> None:
        self._attempt = attempt
        self._deliver = deliver
        self._alive = alive
        self._ready = ready
        self._control = control
        self._width = width
        self._on_return = on_return
        self._quarantine: Quarantine[Suspect] = Quarantine(clear=self._clear, convict=self._convict)
        self._fallen: deque[Fallen] = deque()
        self._dead: list[Suspect] = []
        #: Whether somebody is to be tested; then the upstream is theirs alone.
        self.pending = False

    def fell(self, fallen: Fallen) -> None:
        """A line failed as lines do when their upstream dies. Whether it died is not known yet."""
        while self._fallen and fallen.at - self._fallen[0].at > _DEATH_S:
            self._fallen.popleft()
        self._fallen.append(fallen)

    def died(self, *, now: float) -> int:
        """The upstream is gone: whoever fell with it is a suspect, and pays nothing. How many there are."""
        before = len(self._dead)
        for fallen in self._fallen:
            if now - fallen.at <= _DEATH_S and fallen.timer is not None:
                fallen.timer.cancel()
                fallen.timer = None
                fallen.work.attempts -= fallen.charged
                self.fell_with_it(fallen.lane, fallen.work)
        self._fallen.clear()
        return len(self._dead) - before

    def fell_with_it(self, lane: Lane, work: Work) -> None:
        """A line that waits fell while the upstream was known to be gone."""
        self.hand_over([(lane, work)])

    def hand_over(self, suspects: list[Suspect]) -> None:
        """Test these here: their own upstream does not come back."""
        self._dead += suspects
        self._tidy()

    def release(self) -> list[Suspect]:
        """Give away whoever is not in flight."""
        released, self._dead = self._dead + self._quarantine.release(), []
        self._tidy()
        return released

    def drop(self, lane: Lane) -> None:
        """Nobody wants the lines of this lane any more."""
        gone = sum(1 for suspect in self._dead if suspect[0] is lane)
        self._dead = [suspect for suspect in self._dead if suspect[0] is not lane]
        before = len(self._quarantine)
        self._quarantine.drop(lambda suspect: suspect[0] is lane)
        for _ in range(gone + before - len(self._quarantine)):
            lane.forget()
        self._tidy()

    async def run(self) -> None:
        """Test until nobody is suspect."""
        while self.pending:
            await self._ready()
            self._quarantine.suspect(self._dead)
            self._dead = []
            if self._quarantine.turn is Turn.CONTROL:
                await self._run_control()
            else:
                await self._run_group()
            self._tidy()

    async def _run_control(self) -> None:
        control = self._control()
        if control is None:
            self._quarantine.no_control()
            return
        self._quarantine.send_control()
        outcome = await self._attempt(*control)
        if fell(outcome) and not await self._alive():
            lane, work = control
            lane.put_back(work)
            self._quarantine.died()
        else:
            self._quarantine.control_came_back()
            await self._deliver(*control, outcome)

    async def _run_group(self) -> None:
        sent: list[Suspect] = []
        while self._quarantine.turn is Turn.SUSPECT and len(sent) < self._width():
            suspect = self._quarantine.send()
            suspect[0].recall()
            sent.append(suspect)
        fallen = [fall for fall in await asyncio.gather(*map(self._test, sent)) if fall is not None]
        if fallen and not await self._alive():
            for lane, _, _ in fallen:
                lane.wait("they fell with their upstream")
            self._quarantine.died()
            return
        for lane, work, outcome in fallen:
            self._quarantine.came_back((lane, work))
            await self._deliver(lane, work, outcome)

    async def _test(self, suspect: Suspect) -> tuple[Lane, Work, Outcome | None] | None:
        """Send one suspect. What comes back is delivered at once; a fall is left to be judged."""
        lane, work = suspect
        outcome = await self._attempt(lane, work)
        if fell(outcome):
            return lane, work, outcome
        if isinstance(outcome, Failed) and outcome.failure.upstream_is_out:
            lane.wait("they wait for their upstream")
            self._quarantine.not_sent(suspect)
        else:
            self._quarantine.came_back(suspect)
            await self._deliver(lane, work, outcome)
        return None

    def _tidy(self) -> None:
        self.pending = bool(self._dead or self._quarantine)

    def _clear(self, suspect: Suspect) -> None:
        lane, work = suspect
        lane.put_by(work)
        self._on_return(lane)

    def _convict(self, suspect: Suspect) -> None:
        lane, work = suspect
        lane.recall()
        detail = "the upstream died each time this line was sent to it alone, and lived on with others"
        lane.settle(work, Failed(Failure.CRASHES, detail))
        self._on_return(lane)

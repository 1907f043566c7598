"""Lines on trial: while one is, the upstream is theirs alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from bulkrate.core.outcome import Outcome
from bulkrate.core.turns import Turns
from bulkrate.dispatch.base import Work
from bulkrate.dispatch.hearing import Hearing
from bulkrate.dispatch.inquest import Inquest, Suspect
from bulkrate.dispatch.lane import Lane


class Trials:
    """The inquest and the hearing of one upstream.

    `attempt` sends a line and `deliver` gives it what came of that; `alive` looks whether the upstream is
    there; `ready` returns when it may be sent a line, `idle` when nothing is in flight there besides. Lines
    above suspicion are taken from `turns`; `on_return` is told of a lane that has a line back.
    """

    def __init__(
        self,
        *,
        attempt: Callable[[Lane, Work], Awaitable[Outcome | None]],
        deliver: Callable[[Lane, Work, Outcome | None], Awaitable[None]],
        alive: Callable[[], Awaitable[bool]],
        ready: Callable[[], Awaitable[None]],
        idle: Callable[[], Awaitable[None]],
        width: Callable[[], int],
        turns: Turns[Lane],
        on_return: Callable[[Lane], None],
        patience_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._turns = turns
        #: Who may have killed the upstream.
        self.inquest = Inquest(
            attempt=attempt,
            deliver=deliver,
            alive=alive,
            ready=ready,
            control=self._control,
            width=width,
            on_return=on_return,
        )
        #: Who may have been killed with it, again and again.
        self.hearing = Hearing(
            attempt=attempt,
            deliver=deliver,
            idle=idle,
            control=self._control,
            on_return=on_return,
            patience_s=patience_s,
            clock=clock,
        )
        #: Whether they are being held.
        self.open = False

    @property
    def pending(self) -> bool:
        """Whether a line is on trial."""
        return self.inquest.pending or self.hearing.pending

    def drop(self, lane: Lane) -> None:
        """Nobody wants the lines of this lane any more."""
        self.inquest.drop(lane)
        self.hearing.drop(lane)

    def release(self) -> list[Suspect]:
        """Give away whoever is on trial and not in flight."""
        return self.inquest.release() + self.hearing.release()

    async def hold(self) -> None:
        """Go on until nobody is on trial."""
        while self.pending:
            await self.inquest.run()
            await self.hearing.run()
        self.open = False

    def _control(self) -> Suspect | None:
        lane = self._turns.best()
        if lane is None:
            return None
        work = lane.take(retries_first=False)
        self._turns.enter(lane)
        return lane, work

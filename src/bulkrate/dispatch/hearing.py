"""Hearing lines alone that failed as often as a line may, and each time with everybody else.

Behind a gateway that stays there an engine may have died of any line that was under way, and nothing says
when it is back. So a line above suspicion goes first; when that is answered, the next one of those that wait
has its attempt, with nothing beside it. What comes of that is final.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from bulkrate.core.outcome import Outcome
from bulkrate.dispatch.base import Work
from bulkrate.dispatch.inquest import Suspect, fell
from bulkrate.dispatch.lane import Lane

# So many lines at most wait to be heard. A single culprit has fewer victims.
_WAITING_MAX = 32
# How long an answer is waited for when there is nobody above suspicion, who could have one.
_PATIENCE_S_MAX = 10.0
# Pauses while nothing is answered.
_PAUSE_S_MIN = 0.25
_PAUSE_S_MAX = 4.0


class Hearing:
    """The lines of one upstream that wait to be tried alone.

    `attempt` sends a line and `deliver` gives it what came of that; `idle` returns when the upstream may be
    sent a line and nothing is in flight there; `control` takes a line above suspicion, if there is one;
    `on_return` is told of a control that was not answered. For an answer to one the upstream is given
    `patience_s`.
    """

    def __init__(
        self,
        *,
        attempt: Callable[[Lane, Work], Awaitable[Outcome | None]],
        deliver: Callable[[Lane, Work, Outcome | None], Awaitable[None]],
        idle: Callable[[], Awaitable[None]],
        control: Callable[[], Suspect | None],
        on_return: Callable[[Lane], None],
        patience_s: float,
    ) -> None:
        self._attempt = attempt
        self._deliver = deliver
        self._idle = idle
        self._control = control
        self._on_return = on_return
        self._patience_s = patience_s
        self._unheard: deque[Suspect] = deque()
        #: Whether somebody is to be heard; then the upstream is theirs alone.
        self.pending = False

    def take(self, lane: Lane, work: Work) -> bool:
        """Hear a line that is in flight no more. False: it was heard, or too many wait for that."""
        if work.heard or len(self._unheard) >= _WAITING_MAX:
            return False
        work.heard = True
        self._wait(lane, work)
        self.pending = True
        return True

    def drop(self, lane: Lane) -> None:
        """Nobody wants the lines of this lane any more."""
        kept = [suspect for suspect in self._unheard if suspect[0] is not lane]
        for _ in range(len(self._unheard) - len(kept)):
            lane.forget()
        self._unheard = deque(kept)

    async def run(self) -> None:
        """Hear until nobody waits."""
        answers, paused_s, pause_s = False, 0.0, _PAUSE_S_MIN
        while self._unheard:
            await self._idle()
            fair = answers or paused_s >= self._patience_s
            sent = None if fair else self._control()
            if sent is not None and sent[1].falls:
                self._put_back(*sent)  # it failed as well
                sent = None
            if sent is None:
                fair |= paused_s >= _PATIENCE_S_MAX
                sent = self._next()
            if sent is None:
                break
            lane, work = sent
            outcome = await self._attempt(lane, work)
            answers = not fell(outcome)
            if answers or fair:
                await self._deliver(lane, work, outcome)
                if answers:
                    paused_s, pause_s = 0.0, _PAUSE_S_MIN
                continue
            if work.heard:
                self._wait(lane, work)  # nobody was above suspicion
            else:
                self._put_back(lane, work)
            await asyncio.sleep(pause_s)
            paused_s += pause_s
            pause_s = min(2 * pause_s, _PAUSE_S_MAX)
        self.pending = False

    def _put_back(self, lane: Lane, work: Work) -> None:
        lane.put_back(work)
        self._on_return(lane)

    def _wait(self, lane: Lane, work: Work) -> None:
        lane.wait("they failed whenever all others did, and are tried alone")
        self._unheard.append((lane, work))

    def _next(self) -> Suspect | None:
        if not self._unheard:
            return None
        lane, work = self._unheard.popleft()
        lane.recall()
        return lane, work

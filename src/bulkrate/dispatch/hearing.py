"""Hearing lines alone that failed as often as a line may, and each time with everybody else.

Behind a gateway that stays there an engine may have died of any line that was under way, and nothing says
when it is back. So another line goes first, one above suspicion if there is any; when that is answered, the
next one of those that wait has its attempt, with nothing beside it. What comes of that is final.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from bulkrate.core.outcome import Failed, Outcome
from bulkrate.core.vain import Vain
from bulkrate.dispatch.base import Work
from bulkrate.dispatch.inquest import Suspect, fell
from bulkrate.dispatch.lane import Lane

# So many lines at most wait to be heard. A single culprit has fewer victims.
_WAITING_MAX = 32
# How long an answer is waited for when nobody above suspicion is left, who could have one.
_PATIENCE_S_MAX = 10.0
# So many lines above suspicion are tried one after the other before there is a pause: some may be bad.
_FRESH_TRIED = 4
# Pauses while nothing is answered.
_PAUSE_S_MIN = 0.25
_PAUSE_S_MAX = 4.0
# After pauses of so long the upstream was away, and some of those heard may be its victims.
_AWAY_S = 1.0
# Where lines fail for themselves it is in vain to hear them, and all others wait meanwhile.
_VAIN_S_MAX = 10.0
_VAIN_SHARE = 0.05


class _Turn(NamedTuple):
    """An attempt at a line: one that is heard, or a control. What comes of a fair one is final."""

    lane: Lane
    work: Work
    is_heard: bool
    is_fair: bool


class _Patience:
    """How long an upstream was waited for that answers nobody."""

    def __init__(self) -> None:
        self.waited_s = 0.0
        self._pause_s = _PAUSE_S_MIN
        self._fresh = 0

    async def wait(self, *, fresh: bool) -> None:
        """Pause after an attempt that was not answered, unless a few `fresh` lines were tried only."""
        self._fresh += fresh
        if fresh and self._fresh % _FRESH_TRIED:
            return
        await asyncio.sleep(self._pause_s)
        self.waited_s += self._pause_s
        self._pause_s = min(2 * self._pause_s, _PAUSE_S_MAX)


class Hearing:
    """The lines of one upstream that wait to be tried alone.

    `attempt` sends a line and `deliver` gives it what came of that; `idle` returns when the upstream may be
    sent a line and nothing is in flight there; `control` takes another line, one above suspicion if there is
    any; `on_return` is told of a control that was not answered. For an answer to one above suspicion the
    upstream is given `patience_s`. `clock` gives seconds and only goes forward.
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
        clock: Callable[[], float],
    ) -> None:
        self._attempt = attempt
        self._deliver = deliver
        self._idle = idle
        self._control = control
        self._on_return = on_return
        self._patience_s = patience_s
        self._clock = clock
        self._vain = Vain(_VAIN_S_MAX, _VAIN_SHARE)
        self._unheard: deque[Suspect] = deque()
        #: Whether somebody is to be heard; then the upstream is theirs alone.
        self.pending = False

    def take(self, lane: Lane, work: Work) -> bool:
        """Hear a line that is in flight no more.

        False: it was heard, too many wait for that, or nobody was answered lately who was heard.
        """
        if work.heard or len(self._unheard) >= _WAITING_MAX or not self._vain.allows(now=self._clock()):
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

    def release(self) -> list[Suspect]:
        """Give away whoever waits."""
        released = list(self._unheard)
        self._unheard.clear()
        return released

    async def run(self) -> None:
        """Hear until nobody waits."""
        began, patience = self._clock(), _Patience()
        answers = saved = False
        while self._unheard:
            await self._idle()
            if not self._unheard:
                break
            turn = self._next(answers, patience.waited_s)
            outcome = await self._attempt(turn.lane, turn.work)
            answers = _shows_life(outcome)
            is_final = answers or turn.is_fair or turn.lane.closed or outcome is None
            if turn.is_heard and not is_final:
                self._wait(turn.lane, turn.work)
            elif is_final or not fell(outcome):
                await self._deliver(turn.lane, turn.work, outcome)
            else:
                self._put_back(turn.lane, turn.work)
            if answers:
                saved |= turn.is_heard
                if patience.waited_s >= _AWAY_S:
                    began = self._clock()  # until now nobody could have been answered
                patience = _Patience()
            elif not turn.is_fair:
                await patience.wait(fresh=not turn.work.falls)
        now = self._clock()
        if saved:
            self._vain.paid_off()
        else:
            self._vain.spent(now - began, now=now)
        self.pending = False

    def _next(self, answers: bool, waited_s: float) -> _Turn:
        """Who is sent now."""
        if answers or waited_s >= self._patience_s:
            return self._unheard_turn(is_fair=True)
        control = self._control()
        if control is None:
            return self._unheard_turn(is_fair=waited_s >= _PATIENCE_S_MAX)
        if control[1].falls and waited_s >= _PATIENCE_S_MAX:
            self._put_back(*control)
            return self._unheard_turn(is_fair=True)
        return _Turn(*control, is_heard=False, is_fair=False)

    def _unheard_turn(self, *, is_fair: bool) -> _Turn:
        lane, work = self._unheard.popleft()
        lane.recall()
        return _Turn(lane, work, is_heard=True, is_fair=is_fair)

    def _put_back(self, lane: Lane, work: Work) -> None:
        lane.put_back(work)
        self._on_return(lane)

    def _wait(self, lane: Lane, work: Work) -> None:
        lane.wait("they failed whenever all others did, and are tried alone")
        self._unheard.append((lane, work))


def _shows_life(outcome: Outcome | None) -> bool:
    """Whether an attempt shows that an engine is there. A gateway's 503 does not, nor does a line that nobody
    wants any more.
    """
    if isinstance(outcome, Failed):
        return outcome.failure.costs_attempt and not outcome.failure.is_fall
    return outcome is not None

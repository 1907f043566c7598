"""Is an upstream fit to be sent to, and if not, when to look again.

    OK ──cannot be reached, refuses our key, or a probe fails──> OUT ──a probe succeeds──> TRIAL ──any
    answer──> OK
                                                                  └──────── out again <─────┘

While it is OUT no line is sent and no line pays for it; a cheap probe looks again at growing intervals. In
TRIAL one line goes ahead. An upstream that answers its probe and fails lines all the same is not out: those
failures are the lines' own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from bulkrate.core.outcome import Failed, Failure

# So many failures in a row without one success are a reason to probe.
SUSPICIOUS_FAILURES = 8
# A few lines in a row may all be bad. This many without one good among them look like an outage.
_LINES_OF_AN_OUTAGE = 10
_WAIT_S_MIN = 0.5
_WAIT_S_MAX = 15.0


class State(Enum):
    """What an upstream may be sent."""

    OK = "as many lines as its window holds"
    TRIAL = "one line at a time"
    OUT = "probes only"


@dataclass(slots=True)
class Health:
    """The state of one upstream. Times are seconds of any clock that only goes forward."""

    state: State = State.OK
    #: Why it is not OK, in words.
    reason: str | None = None
    #: Whether that is our key: waiting does not mend it.
    key_refused: bool = False
    failures: int = 0
    #: Whether a line was answered since it was out, be it with a refusal.
    has_answered: bool = False
    #: How many were refused for our key since it was out or answered.
    _refused: int = 0
    _hold_until: float = 0.0
    _outages: int = 0
    #: How many lines have failed for the first time since the last answer, and when the first of them did.
    _newly_failing: int = 0
    _failing_since: float = 0.0

    def allows(self, in_flight: int, *, now: float) -> bool:
        """Whether one more line may be sent."""
        if now < self._hold_until or self.state is State.OUT:
            return False
        return self.state is State.OK or in_flight == 0

    def wait_s(self, *, now: float) -> float:
        """Seconds until a line, or when it is out a probe, may be sent."""
        return max(0.0, self._hold_until - now)

    def succeeded(self) -> None:
        """The upstream answered a line, be it with a refusal of that line."""
        self.state = State.OK
        self.reason = None
        self.key_refused = False
        self.failures = 0
        self._outages = 0
        self._newly_failing = 0
        self.has_answered = True
        self._refused = 0

    def answers_others(self) -> bool:
        """Whether a line that our key was refused for is alone in that: others were answered just now.

        To be asked once for each such line. When nobody is answered between several, it is the key.
        """
        self._refused += 1
        return self.has_answered and self._refused < SUSPICIOUS_FAILURES

    def failed(self, failed: Failed, *, first: bool, now: float, jitter: float) -> None:
        """An attempt failed for now, the line's `first` or a later one. `jitter` is in [0, 1)."""
        self.failures += 1
        if first:
            self._failing_since = self._failing_since if self._newly_failing else now
            self._newly_failing += 1
        if failed.retry_after_s is not None and failed.failure.holds_upstream(failed.retry_after_s):
            self._hold_until = max(self._hold_until, now + failed.retry_after_s)
        if failed.failure.upstream_is_out:
            self.out(failed, now=now, jitter=jitter)
        elif self.state is State.TRIAL:
            self.state = State.OK

    def out(self, failed: Failed, *, now: float, jitter: float) -> None:
        """It cannot work now. Those in flight when an outage begins all tell of it; only the first counts."""
        if self.state is State.OUT and now < self._hold_until:
            return
        self.state = State.OUT
        self.has_answered = False
        self.reason = failed.detail
        self.key_refused = failed.failure is Failure.KEY_REFUSED
        self._hold_until = now + min(_WAIT_S_MIN * 2**self._outages, _WAIT_S_MAX) * (0.75 + jitter / 4)
        self._outages = min(self._outages + 1, 10)

    def seems_out(self, *, now: float, outage_s: float) -> bool:
        """Whether what fails is rather the upstream than its lines, though it answers probes.

        Lines that failed before the last answer are bad already, and say nothing about the upstream.
        """
        return self._newly_failing >= _LINES_OF_AN_OUTAGE and now - self._failing_since < outage_s

    def back(self) -> None:
        """A probe succeeded."""
        if self.state is State.OUT:
            self.state = State.TRIAL
            self.failures = 0
            self._hold_until = 0.0

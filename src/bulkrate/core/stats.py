"""What is counted: numbers of one upstream, of commits, of a process, and the snapshots that carry them.

Plain integers, for they are counted on the way of every line: recording one costs less than a microsecond.
Whoever counts is one thread; a snapshot is a value and belongs to everybody. No prompt, answer or key is ever
among the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bulkrate.core.histogram import Histogram, HistogramSnapshot, added
from bulkrate.providers.usage import Usage

#: The outcome of an attempt whose line was answered, and of one whose line was refused for good. The others
#: are the codes of `core.outcome.Failure`.
ANSWERED = "answered"
REFUSED = "refused"

#: Upper ends of buckets, in seconds: an answer takes from a millisecond to ten minutes.
LATENCY_BOUNDS_S = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.175, 0.25, 0.375, 0.5, 0.75, 1.0, 1.5, 2.5, 3.75),
    *(5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0),
)
#: The same for a commit and for the disk: from a tenth of a millisecond to half a minute.
COMMIT_BOUNDS_S = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
    *(10.0, 30.0),
)


class UpstreamSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """An upstream, as one process drives it.

    `mode` is how its window is found and `state` whether it may be sent to, in the driver's words; `reason`
    is why not, in words. `waiting` are lines that failed there and are to be tried again.
    """

    in_flight: int
    window: int
    mode: str
    state: str
    reason: str | None
    waiting: int
    attempts: dict[str, int]
    latency: HistogramSnapshot
    #: Seconds spent on attempts that brought no answer.
    unanswered_s: float
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int


class UpstreamStats:
    """What came of the attempts at one upstream. Counts on from the snapshot `before`, if there is one."""

    __slots__ = (
        "_answered",
        "_cached_tokens",
        "_ended",
        "_input_tokens",
        "_latency",
        "_output_tokens",
        "_reasoning_tokens",
        "_unanswered_s",
    )

    def __init__(self, before: UpstreamSnapshot | None = None) -> None:
        self._ended = dict(before.attempts) if before else {}
        self._answered = self._ended.pop(ANSWERED, 0)
        self._latency = Histogram(LATENCY_BOUNDS_S, before.latency if before else None)
        self._unanswered_s = before.unanswered_s if before else 0.0
        self._input_tokens = before.input_tokens if before else 0
        self._cached_tokens = before.cached_tokens if before else 0
        self._output_tokens = before.output_tokens if before else 0
        self._reasoning_tokens = before.reasoning_tokens if before else 0

    def answered(self, latency_s: float, usage: Usage) -> None:
        """An attempt brought an answer after `latency_s`."""
        self._answered += 1
        self._latency.add(latency_s)
        self._input_tokens += usage.input_tokens
        self._cached_tokens += usage.cached_tokens
        self._output_tokens += usage.output_tokens
        self._reasoning_tokens += usage.reasoning_tokens

    def ended(self, outcome: str, latency_s: float | None) -> None:
        """An attempt brought none: `outcome` is `REFUSED` or the code of a `Failure`; `latency_s` is None
        when it was not measured.
        """
        self._ended[outcome] = self._ended.get(outcome, 0) + 1
        if latency_s is not None:
            self._unanswered_s += latency_s

    def snapshot(
        self, *, in_flight: int, window: int, mode: str, state: str, reason: str | None, waiting: int
    ) -> UpstreamSnapshot:
        """The numbers of now, with what the driver alone knows."""
        return UpstreamSnapshot(
            in_flight=in_flight,
            window=window,
            mode=mode,
            state=state,
            reason=reason,
            waiting=waiting,
            attempts={ANSWERED: self._answered, **self._ended},
            latency=self._latency.snapshot(),
            unanswered_s=self._unanswered_s,
            input_tokens=self._input_tokens,
            cached_tokens=self._cached_tokens,
            output_tokens=self._output_tokens,
            reasoning_tokens=self._reasoning_tokens,
        )


class CommitSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Commits of one process. `queued` are lines that were answered and are not committed yet."""

    commits: int
    lines: int
    bytes: int
    seconds: HistogramSnapshot
    fsync: HistogramSnapshot
    queued: int


class CommitStats:
    """How results become durable. Counts on from the snapshot `before`, if there is one."""

    __slots__ = ("_bytes", "_commits", "_fsync", "_lines", "_seconds")

    def __init__(self, before: CommitSnapshot | None = None) -> None:
        self._commits = before.commits if before else 0
        self._lines = before.lines if before else 0
        self._bytes = before.bytes if before else 0
        self._seconds = Histogram(COMMIT_BOUNDS_S, before.seconds if before else None)
        self._fsync = Histogram(COMMIT_BOUNDS_S, before.fsync if before else None)

    def committed(self, *, lines: int, bytes_: int, seconds: float) -> None:
        """A group of results counts from now on; it took `seconds` in all."""
        self._commits += 1
        self._lines += lines
        self._bytes += bytes_
        self._seconds.add(seconds)

    def synced(self, seconds: float) -> None:
        """The disk took so long to make a group's bytes durable."""
        self._fsync.add(seconds)

    def snapshot(self, *, queued: int) -> CommitSnapshot:
        """The numbers of now; `queued` lines are answered and not committed."""
        return CommitSnapshot(
            commits=self._commits,
            lines=self._lines,
            bytes=self._bytes,
            seconds=self._seconds.snapshot(),
            fsync=self._fsync.snapshot(),
            queued=queued,
        )


class RemoteSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What is under way at a delegated upstream, as the process that drives it knows.

    `batches` are remote batches that are not collected, by state, `PLANNED` or the provider's in our words;
    `lines` are those of created ones. `enqueued` are their tokens as estimated, and `limits` how many may be
    enqueued where that is known, by the provider's name for the model. `heard_at` is when the provider last
    answered a call (Unix seconds), None if it has not yet.
    """

    batches: dict[str, int] = {}
    lines: int = 0
    enqueued: dict[str, int] = {}
    limits: dict[str, int] = {}
    heard_at: float | None = None


#: The state of a remote batch that is written and not created.
PLANNED = "planned"


class ProcessSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One process: since when it runs and when it told this (Unix seconds), what it used, and its numbers.

    `cpu_s` is of all processes that had its role; `memory_bytes` is 0 where it cannot be known.
    """

    pid: int
    started_at: float
    told_at: float
    cpu_s: float = 0.0
    memory_bytes: int = 0
    upstreams: dict[str, UpstreamSnapshot] = {}
    commits: CommitSnapshot | None = None
    remotes: dict[str, RemoteSnapshot] = {}


#: The state and mode of an upstream that a process does not drive, or does not drive any more.
IDLE = "idle"
NOTHING = UpstreamStats().snapshot(in_flight=0, window=0, mode=IDLE, state=IDLE, reason=None, waiting=0)


def at_rest(snapshot: UpstreamSnapshot) -> UpstreamSnapshot:
    """What was counted at an upstream that is not driven any more."""
    return msgspec.structs.replace(
        snapshot, in_flight=0, window=0, mode=IDLE, state=IDLE, reason=None, waiting=0
    )


def merged(parts: Sequence[UpstreamSnapshot]) -> UpstreamSnapshot:
    """One upstream that several processes drive, or drove, as one; `parts` has at least one of them.

    Numbers add up. State, reason and mode are of the one that is worst off: what stops some of the lines is
    what one wants to see.
    """
    worst = max(parts, key=lambda part: (part.state not in {IDLE, "ok"}, part.state != IDLE, part.window))
    attempts: dict[str, int] = {}
    for part in parts:
        for outcome, count in part.attempts.items():
            attempts[outcome] = attempts.get(outcome, 0) + count
    return UpstreamSnapshot(
        in_flight=sum(part.in_flight for part in parts),
        window=sum(part.window for part in parts),
        mode=worst.mode,
        state=worst.state,
        reason=worst.reason,
        waiting=sum(part.waiting for part in parts),
        attempts=attempts,
        latency=added(part.latency for part in parts),
        unanswered_s=sum(part.unanswered_s for part in parts),
        input_tokens=sum(part.input_tokens for part in parts),
        cached_tokens=sum(part.cached_tokens for part in parts),
        output_tokens=sum(part.output_tokens for part in parts),
        reasoning_tokens=sum(part.reasoning_tokens for part in parts),
    )


def commits_of(parts: Sequence[CommitSnapshot]) -> CommitSnapshot:
    """The commits of several processes as one's."""
    if not parts:
        return CommitStats().snapshot(queued=0)
    return CommitSnapshot(
        commits=sum(part.commits for part in parts),
        lines=sum(part.lines for part in parts),
        bytes=sum(part.bytes for part in parts),
        seconds=added(part.seconds for part in parts),
        fsync=added(part.fsync for part in parts),
        queued=sum(part.queued for part in parts),
    )

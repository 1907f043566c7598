"""What goes to a provider's batch API, in what portions, and what becomes of what comes back.

Only decides: which batches are delegated, how lines are cut into groups, when to look next, what to do with a
remote batch whose time is up. It knows no vendor and no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from math import ceil

from bulkrate.core.lifecycle import Status

# A token of English has about four bytes. Requests are JSON, with names and quotes around the text, so this
# is rather too many; quotas of enqueued tokens are estimates at the providers as well.
_BYTES_PER_TOKEN = 4
# How much longer each pause between two looks is than the last, and how many times the first one the longest.
_PAUSE_GROWS = 1.5
_PAUSE_GROWS_TO = 40
# Beyond so many pauses the longest is reached.
_PAUSES_MAX = 32


class OnLate(StrEnum):
    """What becomes of lines that the provider has not answered when our deadline comes."""

    #: Shortly before it they are taken back and answered online, at the online price.
    ONLINE = "online"
    #: The remote batch is cancelled; what was answered counts, the rest expires.
    EXPIRE = "expire"
    #: We wait for the provider, beyond the deadline if need be.
    WAIT = "wait"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On what terms an upstream takes lines: for batches with what window, and what it does when they are
    late.
    """

    from_window_s: int
    on_late: OnLate
    late_s: float


def goes_online_late(terms: Terms, *, now: float, expires_at: float) -> bool:
    """Whether the lines of a batch are now better answered online, where some upstream can."""
    return terms.on_late is OnLate.ONLINE and now >= expires_at - terms.late_s


def is_delegated(terms: Terms, *, window_s: int, served_online: bool, now: float, expires_at: float) -> bool:
    """Whether lines that a delegated upstream serves go there, and not to the online one that may serve them
    as well.

    Without an online one they always do. With one, batches of a long window do, until they are late.
    """
    if not served_online:
        return True
    return window_s >= terms.from_window_s and not goes_online_late(terms, now=now, expires_at=expires_at)


class Wish(Enum):
    """What is wanted of a remote batch that has not ended."""

    #: All its answers.
    GO_ON = "go on"
    #: What it has answered already, and an end.
    STOP = "stop"


def wish(status: Status, terms: Terms, *, served_online: bool, now: float, expires_at: float) -> Wish:
    """What is wanted of a remote batch, by how our own batch stands."""
    if status is Status.IN_PROGRESS:
        late = served_online and goes_online_late(terms, now=now, expires_at=expires_at)
        return Wish.STOP if late else Wish.GO_ON
    if status is Status.FINALIZING and terms.on_late is OnLate.WAIT:
        return Wish.GO_ON
    return Wish.STOP


def estimated_tokens(size: int) -> int:
    """About how many input tokens so many bytes of a line are."""
    return ceil(size / _BYTES_PER_TOKEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How much fits into one group. None: without limit. A line that goes alone may have `alone` tokens."""

    lines: int
    bytes: int
    tokens: int | None = None
    alone: int | None = None
    inputs: int | None = None


class Group:
    """Lines gather in it until the next one does not fit."""

    __slots__ = ("_between", "_room", "bytes", "inputs", "lines", "tokens")

    def __init__(self, room: Room, *, between: int) -> None:
        self._room = room
        self._between = between
        self.lines = 0
        self.bytes = 0
        self.tokens = 0
        self.inputs = 0

    def takes(self, size: int, *, tokens: int, inputs: int) -> bool:
        """Whether one more line fits. One that is too large for any group goes alone: of tokens and inputs we
        only have an estimate, and the provider has the last word.
        """
        room = self._room
        if self.bytes + (self._between if self.lines else 0) + size > room.bytes:
            return False
        if not self.lines:
            return room.alone is None or tokens <= room.alone
        return (
            self.lines < room.lines
            and (room.tokens is None or self.tokens + tokens <= room.tokens)
            and (room.inputs is None or self.inputs + inputs <= room.inputs)
        )

    def add(self, size: int, *, tokens: int, inputs: int) -> None:
        """Take a line in."""
        self.bytes += size + (self._between if self.lines else 0)
        self.lines += 1
        self.tokens += tokens
        self.inputs += inputs

    @property
    def full(self) -> bool:
        """Whether certainly nothing more fits."""
        return self.lines >= self._room.lines


def pause_s(pauses: int, *, first_s: float, jitter: float) -> float:
    """How long to wait before the next look, after so many. `jitter` is in [0, 1).

    Half as long again each time, up to forty times the first; and anywhere in the last quarter of it, so that
    batches that were created together are not looked at together.
    """
    grown = _PAUSE_GROWS ** min(max(pauses, 0), _PAUSES_MAX)
    return first_s * min(grown, _PAUSE_GROWS_TO) * (1 - jitter / 4)


def pause_s_max(first_s: float) -> float:
    """The longest pause between two looks."""
    return first_s * _PAUSE_GROWS_TO


def last_chance(generation: int, attempts: int) -> bool:
    """Whether lines of a group have no further one before them. The first has the generation 1."""
    return generation >= attempts

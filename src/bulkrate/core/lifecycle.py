"""The life of a batch.

Every status a batch can have and every event that moves it are in this file. Nothing else in the package
names an edge between two statuses, and one store method alone writes one.
"""

from __future__ import annotations

from enum import StrEnum

from bulkrate.errors import IllegalTransition


class Status(StrEnum):
    """OpenAI's eight statuses. There is never a ninth: clients in stricter languages break on one."""

    #: Created; **admit** checks the file and writes the plan. If it dies, the next clerk starts the pass
    #: again.
    VALIDATING = "validating"
    #: The input was rejected; nothing ran.
    FAILED = "failed"
    #: Lines are sent by a worker. If it dies, its shards are claimed again by the next.
    IN_PROGRESS = "in_progress"
    #: No line will be sent any more; **finish** accounts for those that never ran and names the files.
    FINALIZING = "finalizing"
    #: Every line has an answer or an error.
    COMPLETED = "completed"
    #: The window closed before every line could run; what was finished is kept.
    EXPIRED = "expired"
    #: A caller asked to stop; what is in flight lands, then **finish** takes over.
    CANCELLING = "cancelling"
    #: Stopped on request; what was finished is kept.
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether no event can move the batch any more."""
        return not any(status is self for status, _ in TRANSITIONS)

    @property
    def sending(self) -> bool:
        """Whether lines may be sent."""
        return self is Status.IN_PROGRESS

    @property
    def closing(self) -> bool:
        """Whether sending is over and the last account is being made."""
        return self in {Status.FINALIZING, Status.CANCELLING}

    @property
    def reached_at(self) -> str:
        """The field of the batch object that holds the moment this status was reached."""
        return "created_at" if self is Status.VALIDATING else f"{self.value}_at"


class Event(StrEnum):
    """What can happen to a batch."""

    ADMITTED = "admitted"
    REJECTED = "rejected"
    CANCEL_ASKED = "cancel asked"
    LINES_DONE = "every line is done"
    DEADLINE_PASSED = "the deadline passed"
    ACCOUNTED = "every line is accounted for"
    ACCOUNTED_LATE = "every line is accounted for, some never ran"


TRANSITIONS: dict[tuple[Status, Event], Status] = {
    (Status.VALIDATING, Event.ADMITTED): Status.IN_PROGRESS,
    (Status.VALIDATING, Event.REJECTED): Status.FAILED,
    (Status.VALIDATING, Event.CANCEL_ASKED): Status.CANCELLING,
    (Status.IN_PROGRESS, Event.LINES_DONE): Status.FINALIZING,
    (Status.IN_PROGRESS, Event.DEADLINE_PASSED): Status.FINALIZING,
    (Status.IN_PROGRESS, Event.CANCEL_ASKED): Status.CANCELLING,
    (Status.FINALIZING, Event.ACCOUNTED): Status.COMPLETED,
    (Status.FINALIZING, Event.ACCOUNTED_LATE): Status.EXPIRED,
    (Status.FINALIZING, Event.CANCEL_ASKED): Status.CANCELLING,
    (Status.CANCELLING, Event.ACCOUNTED): Status.CANCELLED,
    (Status.CANCELLING, Event.ACCOUNTED_LATE): Status.CANCELLED,
}


def after(status: Status, event: Event) -> Status:
    """The status that `event` leads to.

    Raises `IllegalTransition` when a batch in this status does not take the event.
    """
    try:
        return TRANSITIONS[status, event]
    except KeyError:
        raise IllegalTransition(f"a batch that is {status} does not take the event {event.value!r}") from None


def before(event: Event) -> tuple[Status, ...]:
    """The statuses in which a batch takes `event`."""
    return tuple(status for status, taken in TRANSITIONS if taken is event)

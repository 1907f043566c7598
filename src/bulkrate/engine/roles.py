"""The names of the processes beside the one that serves HTTP: one clerk, and one sender or more."""

from __future__ import annotations

from bulkrate.config import Settings

CLERK = "clerk"
_SENDER = "sender-"


def sender_roles(settings: Settings) -> list[str]:
    """The roles of all senders."""
    return [f"{_SENDER}{number}" for number in range(settings.senders)]


def roles_of(settings: Settings) -> tuple[str, ...]:
    """The roles of all processes."""
    return (CLERK, *sender_roles(settings))


def sender_number(role: str) -> int:
    """Which of the senders has this role, from 0 on."""
    return int(role.removeprefix(_SENDER))

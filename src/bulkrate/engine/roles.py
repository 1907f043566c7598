"""The names of the processes beside the one that serves HTTP: one clerk, one sender or more, and one that
hands groups of lines to providers' batch APIs, if any are configured.
"""

from __future__ import annotations

from bulkrate.config import Settings

CLERK = "clerk"
DELEGATE = "delegate"
_SENDER = "sender-"


def sender_roles(settings: Settings) -> list[str]:
    """The roles of all senders."""
    return [f"{_SENDER}{number}" for number in range(settings.senders)]


def worker_roles(settings: Settings) -> list[str]:
    """The roles of all who get lines answered: each has a bell, in this order."""
    return [*sender_roles(settings), *([DELEGATE] if settings.delegated else [])]


def roles_of(settings: Settings) -> tuple[str, ...]:
    """The roles of all processes."""
    return (CLERK, *worker_roles(settings))


def sender_number(role: str) -> int:
    """Which of the senders has this role, from 0 on."""
    return int(role.removeprefix(_SENDER))

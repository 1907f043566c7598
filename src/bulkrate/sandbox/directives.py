"""Reads the directives `[[sandbox:...]]` in a request's last user text: the faults it asks for.

The package's docstring lists them. Reading never acts; `faults` does. What is not understood is refused,
because a rehearsal of a fault that silently did not happen proves nothing.
"""

import re
from enum import Enum

from msgspec import Struct

from bulkrate.sandbox.refusals import bad
from bulkrate.sandbox.request import Request
from bulkrate.sandbox.texts import last_text

_OPENING = "[[sandbox:"
_DIRECTIVE = re.compile(r"\[\[sandbox:([^\[\]]*)\]\]")
_FLAGS = frozenset({"drop", "truncate", "garbage", "reset", "crash", "close", "pretty"})
_NUMBERS = {
    "status": (400, 599),
    "html": (400, 599),
    "retry_after": (0, 86_400),
    "fail_first": (1, 1_000_000),
    "sleep_ms": (0, 86_400_000),
    "slow": (1, 86_400_000),
    "bytes": (1, 1 << 28),
}


class Failure(Enum):
    """The ways to fail; a request may ask for one."""

    STATUS = "status"
    HTML = "html"
    DROP = "drop"
    TRUNCATE = "truncate"
    GARBAGE = "garbage"
    RESET = "reset"
    SLOW = "slow"
    CRASH = "crash"


class Directives(Struct, frozen=True, kw_only=True):
    failure: Failure | None = None
    status: int = 500
    retry_after: int | None = None
    fail_first: int | None = None
    """Fail only this many calls with the same body; None fails them all."""

    sleep_ms: int = 0
    slow_ms: int = 0
    close: bool = False
    pretty: bool = False
    size: int = 0


NO_DIRECTIVES = Directives()


def directives_in(request: Request, asks_in: str) -> Directives:
    if _OPENING.encode() not in request.raw:
        return NO_DIRECTIVES
    return read_directives(last_text(request.fields[asks_in]))


def read_directives(text: str) -> Directives:
    found: dict[str, int] = {}
    for group in _DIRECTIVE.findall(text):
        for word in group.split(","):
            name, number = _read(word.strip())
            found[name] = number
    return _combined(found) if found else NO_DIRECTIVES


def _read(word: str) -> tuple[str, int]:
    name, equals, value = word.partition("=")
    if name in _FLAGS and not equals:
        return name, 1
    if name not in _NUMBERS:
        known = ", ".join(sorted([*_FLAGS, *(f"{number}=N" for number in _NUMBERS)]))
        raise bad(f"the directive '{word[:40]}' is unknown; known are: {known}")
    low, high = _NUMBERS[name]
    if not (value.isdecimal() and value.isascii() and low <= int(value[:12]) <= high):
        raise bad(f"the directive '{word[:40]}' needs a whole number from {low} to {high}")
    return name, int(value)


def _combined(found: dict[str, int]) -> Directives:
    failures = [failure for failure in Failure if failure.value in found]
    if len(failures) > 1:
        names = " and ".join(failure.value for failure in failures)
        raise bad(f"the directives ask for {names} at once; ask for one failure")
    if "crash" in found and "fail_first" in found:
        raise bad("the directives ask for fail_first and crash; what is dead has stopped counting")
    if not failures and "fail_first" in found:
        failures = [Failure.STATUS]
    return Directives(
        failure=failures[0] if failures else None,
        status=found.get("status", found.get("html", 500)),
        retry_after=found.get("retry_after"),
        fail_first=found.get("fail_first"),
        sleep_ms=found.get("sleep_ms", 0),
        slow_ms=found.get("slow", 0),
        close="close" in found,
        pretty="pretty" in found,
        size=found.get("bytes", 0),
    )

"""One message for two readers: who typed a command reads its flags, who called a function its arguments.

What they call by different names stands in a message as `either(…)`. The message is plain text, kept and
passed on as that; whoever shows it puts it into the words of their reader, with `typed` or `called`. Nothing
here knows which of the two is there.
"""

from __future__ import annotations

import re

# Unicode's noncharacters: for use within a program, and in nobody's text.
_OPEN, _OR, _CLOSE = "\ufdd0", "\ufdd1", "\ufdd2"
_EITHER = re.compile(f"{_OPEN}([^{_OR}]*){_OR}([^{_CLOSE}]*){_CLOSE}")


def either(typed: str, called: str) -> str:
    """A part of a message: how it is called on the command line, and how in Python."""
    return f"{_OPEN}{typed}{_OR}{called}{_CLOSE}"


def typed(message: str) -> str:
    """The message for whoever typed a command."""
    return _EITHER.sub(r"\1", message)


def called(message: str) -> str:
    """The message for whoever called a function."""
    return _EITHER.sub(r"\2", message)

"""The wall clock of a process, moved by as many seconds as a file says.

Python imports this module by itself at its start when its folder is in `PYTHONPATH`. What only goes forward
(`time.monotonic`) is left alone, as by an operator or a time server that sets the clock.
"""

import os
import time
from pathlib import Path

_real = time.time
_moved_by = os.environ.get("CLOCK_MOVED_BY")


def _moved() -> float:
    """Unix seconds by the moved clock."""
    assert _moved_by is not None
    return _real() + float(Path(_moved_by).read_text(encoding="ascii"))


if _moved_by is not None:
    time.time = _moved

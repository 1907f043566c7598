"""Optional libraries, imported where they are asked for.

No module of the toolkit imports one at its top: who reads CSV never waits for Arrow, nor needs it.
"""

from __future__ import annotations

import importlib
from typing import Any

from bulkrate.errors import BulkrateError


def load(module: str, extra: str, what: str, error: type[BulkrateError]) -> Any:
    """The imported `module`. Raises `error`, saying that `what` needs `bulkrate[extra]`, without it."""
    try:
        return importlib.import_module(module)
    except ImportError as fault:
        raise error(f'{what} needs "{extra}": pip install "bulkrate[{extra}]"') from fault

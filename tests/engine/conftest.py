"""An engine's context on a data folder of its own, with a clock that the test moves."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from bulkrate.config import Settings
from bulkrate.engine.context import close_context, open_context


class Clock:
    """Stands still until it is moved. It begins at the true time, so that SDKs accept its signatures."""

    def __init__(self) -> None:
        self.now = float(int(time.time()))

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def context(tmp_path, clock):
    context = replace(open_context(Settings(data=str(tmp_path))), clock=clock)
    yield context
    close_context(context)

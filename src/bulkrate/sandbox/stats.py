"""Counts calls: POST requests to an endpoint, whatever became of them. Pages such as /stats are not calls."""

import time
from collections import Counter

from bulkrate.sandbox.request import Fields

NO_ANSWER = "no_answer"
"""Stands where the status would, for calls whose connection closed unanswered."""


class Stats:
    def __init__(self) -> None:
        self._started = time.monotonic()
        self._calls = 0
        self._in_flight = 0
        self._in_flight_max = 0
        self._by_status: Counter[int | None] = Counter()

    def begin(self) -> int:
        """Count a call as received; its number, from 1."""
        self._calls += 1
        self._in_flight += 1
        self._in_flight_max = max(self._in_flight_max, self._in_flight)
        return self._calls

    def end(self, status: int | None) -> None:
        """Count a call as answered; None when it was not."""
        self._in_flight -= 1
        self._by_status[status] += 1

    def page(self) -> Fields:
        return {
            "calls": self._calls,
            "by_status": {
                NO_ANSWER if status is None else str(status): count
                for status, count in self._by_status.items()
            },
            "in_flight": self._in_flight,
            "in_flight_max": self._in_flight_max,
            "seconds_up": round(time.monotonic() - self._started, 3),
        }

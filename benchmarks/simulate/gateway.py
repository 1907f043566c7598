"""The side that sends: keeps an upstream as full as a controller allows, and tells the controller what
happens.

The network takes no time here. The controller is either the product's own or one of those it is measured
against.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from benchmarks.simulate.controllers import Answered, Fixed
from benchmarks.simulate.engine import Engine, Request


@dataclass(slots=True)
class Run:
    """What came of a run."""

    seconds: float = 0.0
    answers: int = 0
    output_tokens: int = 0
    preemptions: int = 0
    waiting_most: int = 0
    #: (time, limit, output tokens so far), about once a second.
    track: list[tuple[float, int, int]] = field(default_factory=list)
    #: Those that were not ours, finished.
    others: list[Request] = field(default_factory=list)

    @property
    def tokens_per_s(self) -> float:
        return self.output_tokens / self.seconds

    def reached_at(self, tokens_per_s: float, over_s: float = 60.0) -> float | None:
        """The first moment from which `over_s` seconds went at that rate."""
        track = self.track
        end = 0
        for at, _, tokens in track:
            while end < len(track) and track[end][0] < at + over_s:
                end += 1
            if end == len(track):
                return None
            if (track[end][2] - tokens) / (track[end][0] - at) >= tokens_per_s:
                return at
        return None


def drive(
    engine: Engine,
    controller: Fixed,
    requests: Iterator[Request],
    *,
    seconds: float,
    random: Random,
    others: Sequence[tuple[float, Request]] = (),
    scrape_every_s: float | None = 1.5,
    blind_between: tuple[float, float] | None = None,
) -> Run:
    """Send until `seconds` are over or the requests are.

    `others` come by themselves. `blind_between`: scrapes fail between these two moments.
    """
    run = Run()
    in_flight = 0
    ours_tokens = 0
    next_scrape = scrape_every_s or float("inf")
    next_track = 0.0
    coming = iter(others)
    arrival = next(coming, None)
    more = True
    while engine.now < seconds:
        while more and in_flight < controller.limit:
            request = next(requests, None)
            if request is None:
                more = False
                break
            engine.submit(request)
            in_flight += 1
        if not more and not in_flight:
            break
        until = min(next_scrape, next_track, seconds, arrival[0] if arrival else seconds)
        for request in engine.run(until):
            if not request.ours:
                run.others.append(request)
                continue
            run.answers += 1
            ours_tokens += request.output
            controller.answered(
                Answered(in_flight, request.goodput, engine.now - request.sent_at, engine.now)
            )
            in_flight -= 1
            if more and in_flight < controller.limit:
                following = next(requests, None)
                if following is None:
                    more = False
                else:
                    engine.submit(following)
                    in_flight += 1
        while arrival and engine.now >= arrival[0]:
            engine.submit(arrival[1])
            arrival = next(coming, None)
        if engine.now >= next_scrape and scrape_every_s:
            next_scrape = engine.now + scrape_every_s * random.uniform(0.9, 1.1)
            silent = blind_between and blind_between[0] <= engine.now < blind_between[1]
            controller.scraped(None if silent else engine.load(), in_flight, engine.now)
        if engine.now >= next_track:
            next_track = engine.now + 1.0
            run.track.append((engine.now, controller.limit, engine.generated))
    run.seconds = engine.now
    run.output_tokens = ours_tokens if others else engine.generated
    run.preemptions = engine.preemptions
    run.waiting_most = engine.waiting_most
    return run

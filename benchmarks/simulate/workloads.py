"""What is sent: lengths of prompts and outputs, drawn from seeded distributions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from random import Random

from benchmarks.simulate.engine import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Log-normal prompts and outputs around their means; a spread of 0 makes them all alike."""

    name: str
    prompt: int
    output: int
    prompt_spread: float = 0.3
    output_spread: float = 0.5

    def requests(self, random: Random, *, priority: int = 0) -> Iterator[Request]:
        """Requests without end."""
        while True:
            yield Request(
                lognormal(random, self.prompt, self.prompt_spread),
                lognormal(random, self.output, self.output_spread),
                priority=priority,
            )


CLASSIFY = Workload(name="classify 500/10", prompt=500, output=10)
CHAT = Workload(name="chat 400/300", prompt=400, output=300)
REASON = Workload(name="reason 400/3000", prompt=400, output=3000)
RAG = Workload(name="rag 6000/200", prompt=6000, output=200)
CELLS = (CLASSIFY, CHAT, REASON, RAG)
# Beside interactive traffic.
BATCH = Workload(name="batch 600/300", prompt=600, output=300)
# The public chat log that both engines' authors measured with: its means, and its wide spread.
SHAREGPT = Workload(name="ShareGPT", prompt=226, output=194, prompt_spread=1.0, output_spread=0.8)
# One H100, as llm-d swept it.
SWEEP = Workload(name="sweep 256/256", prompt=256, output=256, prompt_spread=0.0, output_spread=0.2)


def lognormal(random: Random, mean: float, spread: float) -> int:
    """A length with this mean, at least 1 and at most twelve times the mean."""
    drawn = random.lognormvariate(math.log(mean) - spread * spread / 2, spread)
    return max(1, min(round(drawn), round(12 * mean)))


def grouped(
    random: Random, *, groups: int, prefix: int, suffix: int, output: int, total: int
) -> list[Request]:
    """`total` requests in `groups` that share a beginning of `prefix` tokens each, in random order."""
    size = 256
    requests = []
    for number in range(total):
        group = number % groups
        segments = tuple(
            (group * 1000 + part, min(size, prefix - part * size)) for part in range(math.ceil(prefix / size))
        )
        requests.append(
            Request(
                prefix + lognormal(random, suffix, 0.3), lognormal(random, output, 0.3), segments=segments
            )
        )
    random.shuffle(requests)
    return requests


def interactive(random: Random, *, rate: float, seconds: float) -> list[tuple[float, Request]]:
    """People's requests and when they come: at random, `rate` a second, the lengths of a public trace of
    conversations.
    """
    arrivals = []
    at = 0.0
    for _ in count():
        at += random.expovariate(rate)
        if at > seconds:
            return arrivals
        # Means and medians of the published hour: prompts 1,155 and 1,020, outputs 211 and 129.
        prompt = min(8000, max(8, round(random.lognormvariate(math.log(1020), 0.5))))
        output = min(1500, max(1, round(random.lognormvariate(math.log(129), 0.99))))
        arrivals.append((at, Request(prompt, output, ours=False, priority=-1)))
    return arrivals

"""What a line costs the sender, step by step, in microseconds of processor time.

A batch is admitted by a real server, which is then stopped; its data folder is opened here, and every step is
run by itself on the real code and the real files: taking a line from the plan, reading and taking it apart,
posting its body, judging the answer, splicing the output line, gathering it, committing. Handing out is what
the dispatcher adds to posting and judging, driven with a load that does nothing. The best of several rounds
counts, as whatever else runs on the machine only makes a step look dearer.

Then the steps are run all at once, without committing: what that costs beyond their sum, they cost each
other, in cold caches and in waking threads. Last, a real sender runs the whole batch; what is left is not
explained by any step.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from benchmarks import drive, processes
from benchmarks.api import Api, warm_up, write_input
from bulkrate.blobs import LocalBlobs
from bulkrate.config import Limits, Settings, Upstream
from bulkrate.core.outcome import Answer, Answered, Outcome, judge
from bulkrate.core.plan import Fate
from bulkrate.dispatch import Dispatcher, Lane, Work
from bulkrate.dispatch.client import Client
from bulkrate.engine.log import BatchLog, LogWriter
from bulkrate.engine.loops.load import ShardLoad
from bulkrate.providers.usage import Usage, read_usage
from bulkrate.store import Store
from bulkrate.store.records import LogEnds, Want

IN_FLIGHT = 256
_PATH = "/v1/chat/completions"
_SECONDS_MAX = 900
_ADMIT_S_MAX = 60
_LEASE_S = 3_600.0
# Lines that gather for one commit at the speed that we aim at.
_GROUP_LINES = 1_500
_US = 1e6
# Asking how a batch is getting on takes from it.
_POLL_S = 0.25
_JUDGE = "judge: status, whole JSON, usage"
_SEND = "send and receive: our client and the kernel"


def main() -> None:
    """Measure."""
    parser = processes.options_of(__doc__, "linecost")
    parser.add_argument("--lines", type=int, default=30_000)
    parser.add_argument("--rounds", type=int, default=5)
    processes.add_upstream_option(parser)
    processes.run(measure, parser, seconds_max=_SECONDS_MAX)


@dataclass
class Costs:
    """Microseconds per line: of the thread that runs the event loop, and of all others."""

    lines: int
    rounds: int
    loop: dict[str, float] = field(default_factory=dict)
    others: dict[str, float] = field(default_factory=dict)

    def of(self, step: Callable[[], object]) -> tuple[float, float]:
        """What a step over all lines takes: in this thread, and in others. The best of the rounds."""
        return self.best(lambda: _timed(step))

    def best(self, once: Callable[[], tuple[float, float]]) -> tuple[float, float]:
        """The lowest of what several rounds took, per line."""
        rounds = [once() for _ in range(self.rounds)]
        return tuple(min(seconds) / self.lines * _US for seconds in zip(*rounds, strict=True))  # type: ignore[return-value]


def measure(options: argparse.Namespace) -> None:
    """The steps one by one, then all of them in a real sender."""
    costs = Costs(options.lines, options.rounds)
    with processes.folder() as folder, processes.upstream(options.upstream) as url:
        path = write_input(folder / "input.jsonl", options.lines)
        admit(folder, path)
        answer = uvloop.run(one_answer(url))
        shard = Shard(folder / "data")
        measure_load(costs, shard, answer)
        measure_client(costs, url, drive.bodies_of(path))
        measure_dispatch(costs, url)
        measure_together(costs, shard, url)
        shard.close()
        measured = measure_sender(folder, url, path, options)
    tell(costs, *measured)


def admit(folder: Path, path: Path) -> None:
    """Leave a data folder with a batch that is planned, and of which no line has been sent."""
    nobody = "http://127.0.0.1:9/v1"  # the discard port: no connection, so nothing is ever sent
    with (
        processes.server(folder / "data", nobody, max_in_flight=IN_FLIGHT) as server,
        Api(server.port) as api,
    ):
        batch_id = api.create(api.upload(path))
        deadline = time.monotonic() + _ADMIT_S_MAX
        while api.get(f"/v1/batches/{batch_id}")["status"] != "in_progress":
            assert time.monotonic() < deadline, f"not admitted within {_ADMIT_S_MAX} s"
            time.sleep(0.05)
        assert server.stop() == 0


async def one_answer(url: str) -> Answer:
    """An answer of this upstream, as our client brings it."""
    client = Client(Upstream(url=url), answer_bytes_max=Limits().answer_bytes_max)
    answer = await client.post(_PATH, b'{"model":"bench","messages":[{"role":"user","content":"hello"}]}')
    await client.close()
    assert answer.status == 200, answer
    return answer


class Shard:
    """The planned batch, claimed as a sender does."""

    def __init__(self, data: Path) -> None:
        self._store = Store(data / "bulkrate.db")
        self._blobs = LocalBlobs(data / "blobs")
        self._store.work.bury_all()
        self._epoch = self._store.work.enlist("sender", now=time.time(), lease_s=_LEASE_S)
        (self._offer,) = self._store.work.offers(serves=lambda _model: True, limit=1)
        planned = self._offer.shard
        want = Want(batch_id=planned.batch_id, shard=planned.shard, lines=planned.lines)
        (self._range,) = self._store.work.claim(self._epoch, [want], now=time.time(), lease_s=_LEASE_S)
        self.source = self._blobs.open(self._offer.input_blob or "")
        self.writer = LogWriter(self._store, self._blobs, self._epoch)

    def log(self) -> BatchLog:
        """An empty log."""
        return BatchLog(self._offer.shard.batch_id, LogEnds())

    def load(self, log: BatchLog, on_change: Callable[[bool], None] = lambda _finished: None) -> ShardLoad:
        """The lines, from the first on."""
        load = ShardLoad(
            self._offer,
            plan=self._blobs.open(self._offer.shard.plan),
            source=self.source,
            log=log,
            may_send=lambda expires_at: time.time() < expires_at,
            on_low=lambda: None,
            on_change=on_change,
        )
        load.feed(load.hold(self._range))
        return load

    def close(self) -> None:
        """Let go of everything."""
        self.writer.close()
        self._store.close()


def measure_load(costs: Costs, shard: Shard, answer: Answer) -> None:
    """The steps on plan, input and logs."""
    log, load = shard.log, shard.load
    costs.loop["take: the next line of the plan"], _ = costs.of(lambda: _drain(load(log())))
    taken = list(_works(load(log())))
    assert len(taken) == costs.lines, f"{len(taken)} of {costs.lines} lines are in the plan"
    places = [(work.line.offset, work.line.length) for work in taken]
    read, _ = costs.of(lambda: _each(lambda place: shard.source.read_at(*place), places))
    whole = load(log())
    body, _ = costs.of(lambda: _each(whole.body, taken))
    costs.loop["read: its bytes in the input"] = read
    costs.loop["take apart: custom_id and body"] = body - read

    costs.loop[_JUDGE], _ = costs.of(lambda: _repeat(lambda: judge(answer, read_usage), costs.lines))
    outcome = judge(answer, read_usage)
    assert isinstance(outcome, Answered), outcome
    record, usage = _record_of(shard, taken[0], outcome)
    gathered, _ = costs.best(lambda: _timed_on(log(), lambda to: _gather(to, record, usage, costs.lines)))
    settled, _ = costs.best(
        lambda: _timed_on(load(log()), lambda to: _each(lambda work: to.settle(work, outcome), taken))
    )
    costs.loop["splice: the line of the output file"] = settled - gathered
    costs.loop["gather: output, ledger, usage"] = gathered

    whole_log = log()
    groups = []
    for start in range(0, costs.lines, _GROUP_LINES):
        _gather(whole_log, record, usage, min(_GROUP_LINES, costs.lines - start))
        groups.append(whole_log.hand_over())
    # Written once: a second round would count the same lines again.
    here, elsewhere = _timed(
        lambda: _each(lambda group: shard.writer.commit([group], now=time.time(), lease_s=_LEASE_S), groups)
    )
    costs.others[f"commit: write, sync, count (every {_GROUP_LINES:,})"] = (
        (here + elsewhere) / costs.lines * _US
    )


def measure_client(costs: Costs, url: str, bodies: list[bytes]) -> None:
    """Posting by our client alone."""

    async def post_all() -> tuple[float, float]:
        client = Client(Upstream(url=url), answer_bytes_max=Limits().answer_bytes_max)
        left = iter(bodies)

        async def post() -> None:
            for body in left:
                answer = await client.post(_PATH, body)
                assert answer.status == 200, answer

        began = _now()
        async with asyncio.TaskGroup() as group:
            for _ in range(IN_FLIGHT):
                group.create_task(post())
        took = _since(began)
        await client.close()
        return took

    costs.loop[_SEND], _ = costs.best(lambda: uvloop.run(post_all()))


class _Nothing:
    """A load of so many equal lines, which does nothing of its own."""

    batch_id = "batch_000000000000000000000000"
    model = processes.MODEL
    endpoint = _PATH

    def __init__(self, lines: int, body: bytes) -> None:
        self.over = asyncio.Event()
        self._works: Iterator[Work] = (Work(number) for number in range(lines))
        self._body = body

    def take(self) -> Work | None:
        return next(self._works, None)

    def body(self, _work: Work) -> bytes:
        return self._body

    def settle(self, _work: Work, outcome: Outcome) -> None:
        assert isinstance(outcome, Answered), outcome

    def emptied(self) -> None:
        self.over.set()


def measure_dispatch(costs: Costs, url: str) -> None:
    """What the dispatcher adds to posting and judging: lanes, turns, windows, tasks."""
    body = b'{"model":"bench","messages":[{"role":"user","content":"hello"}],"max_tokens":8}'

    async def once() -> tuple[float, float]:
        load = _Nothing(costs.lines, body)
        return await dispatched(url, load, load.over)

    here, _ = costs.best(lambda: uvloop.run(once()))
    beneath = costs.loop[_SEND] + costs.loop[_JUDGE]
    costs.loop["hand out: lanes, turns, windows, tasks"] = here - beneath


def measure_together(costs: Costs, shard: Shard, url: str) -> None:
    """Every step of the loop's thread but the committing, at once."""

    async def once() -> tuple[float, float]:
        over = asyncio.Event()
        log = shard.log()
        load = shard.load(log, lambda finished: over.set() if finished else None)
        took = await dispatched(url, load, over)
        assert len(log.hand_over().ledger) == costs.lines
        return took

    here, _ = costs.best(lambda: uvloop.run(once()))
    costs.loop["all at once: caches, and a core that is shared"] = here - sum(costs.loop.values())


async def dispatched(url: str, load: Any, over: asyncio.Event) -> tuple[float, float]:
    """The processor time of a dispatcher from a load's first line until it is `over`."""
    upstream = Upstream(url=url, models=[processes.MODEL], max_in_flight=IN_FLIGHT)
    dispatcher = Dispatcher(
        Settings(upstreams={"bench": upstream}),
        on_news=lambda _driver: None,
        may_be_served=lambda _model: True,
    )
    dispatcher.adopt("bench", known_windows={})
    began = _now()
    dispatcher.enter(Lane(load))
    async with asyncio.timeout(_ADMIT_S_MAX):
        await over.wait()
    took = _since(began)
    dispatcher.stop()
    await dispatcher.close()
    return took


def measure_sender(folder: Path, url: str, path: Path, options: argparse.Namespace) -> tuple[float, float]:
    """Microseconds per line of a real sender: its event loop's thread, and all others."""
    best = []
    with processes.server(folder / "whole", url, max_in_flight=IN_FLIGHT) as server, Api(server.port) as api:
        warm_up(api, folder)
        pid = processes.roles_of(server)["sender"]
        file_id = api.upload(path)
        for _ in range(options.rounds):
            before = processes.cpu_s(pid), processes.cpu_s(pid, thread=pid)
            api.wait(api.create(file_id), every_s=_POLL_S, within_s=_SECONDS_MAX)
            everything, loop = processes.cpu_s(pid) - before[0], processes.cpu_s(pid, thread=pid) - before[1]
            best.append((everything / options.lines * _US, loop / options.lines * _US))
    everything, loop = min(best)
    return loop, everything - loop


def tell(costs: Costs, loop: float, others: float) -> None:
    """The table."""
    print("  us per line     share  the event loop's thread, which sets the pace")
    for name, cost in costs.loop.items():
        print(f"  {cost:>11.2f}   {cost / loop:>6.1%}  {name}")
    _tell_sum(sum(costs.loop.values()), loop)
    print("  us per line     share  other threads, beside it")
    for name, cost in costs.others.items():
        print(f"  {cost:>11.2f}   {cost / others:>6.1%}  {name}")
    _tell_sum(sum(costs.others.values()), others)
    print(f"  {loop + others:>11.2f}           the whole sender", flush=True)


def _tell_sum(explained: float, measured: float) -> None:
    print(f"  {explained:>11.2f}   {explained / measured:>6.1%}  together")
    print(f"  {measured - explained:>11.2f}   {1 - explained / measured:>6.1%}  not explained")
    print(f"  {measured:>11.2f}   100.0%  measured in a real sender")


def _record_of(shard: Shard, work: Work, outcome: Answered) -> tuple[bytes, Usage]:
    """The output line that a load makes of an outcome, and the usage it counts."""
    log = shard.log()
    shard.load(log).settle(work, outcome)
    (record,) = log.hand_over().output
    return record, outcome.usage


def _gather(log: BatchLog, record: bytes, usage: Usage, lines: int) -> None:
    for line in range(1, lines + 1):
        log.add(line, Fate.ANSWERED, record, usage)


def _works(load: ShardLoad) -> Iterator[Work]:
    while (work := load.take()) is not None:
        yield work


def _drain(load: ShardLoad) -> None:
    while load.take() is not None:
        pass


def _each(step: Callable[[Any], object], items: Iterable[Any]) -> None:
    for item in items:
        step(item)


def _repeat(step: Callable[[], object], times: int) -> None:
    for _ in itertools.repeat(None, times):
        step()


def _now() -> tuple[float, float]:
    """The processor time of this thread and of the whole process."""
    return time.thread_time(), time.process_time()


def _since(began: tuple[float, float]) -> tuple[float, float]:
    """The processor time since then: of this thread, and of all others."""
    thread, process = time.thread_time() - began[0], time.process_time() - began[1]
    return thread, process - thread


def _timed(step: Callable[[], object]) -> tuple[float, float]:
    began = _now()
    step()
    return _since(began)


def _timed_on(made: Any, step: Callable[[Any], object]) -> tuple[float, float]:
    """Like `_timed`, for a step on something that each round makes anew."""
    return _timed(lambda: step(made))


if __name__ == "__main__":
    main()

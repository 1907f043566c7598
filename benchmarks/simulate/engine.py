"""A model of a continuous-batching engine, step by step.

Each step decodes one token for everybody who decodes, then spends what is left of its token budget on
prompts, first those already begun, then waiting ones. When the cache is full the newest request is preempted
and computed anew later. Steps in which nothing but decoding can happen are taken many at once; the sums are
exact.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Sequence

from benchmarks.simulate.hardware import Hardware
from bulkrate.providers.engines import EngineLoad


class Request:
    """One request on its way. `segments` name the shared beginning of its prompt: (name, tokens) each."""

    __slots__ = (
        "admitted",
        "finish_step",
        "finished_at",
        "first_token_at",
        "generated",
        "held",
        "ours",
        "output",
        "pinned",
        "place",
        "priority",
        "prompt",
        "segments",
        "sent_at",
        "to_prefill",
    )

    def __init__(
        self,
        prompt: int,
        output: int,
        *,
        ours: bool = True,
        priority: int = 0,
        segments: Sequence[tuple[int, int]] = (),
    ) -> None:
        self.prompt = prompt
        self.output = output
        self.ours = ours
        self.priority = priority
        self.segments = segments
        self.sent_at = 0.0
        self.first_token_at = 0.0
        self.finished_at = 0.0
        self.generated = 0
        self.admitted = 0  # tokens that it was admitted with
        self.to_prefill = 0  # tokens of the prompt not yet computed
        self.held = 0  # tokens of the cache that are its own
        self.pinned = 0  # leading segments in use
        self.finish_step = 0  # the step that gives its last token; 0 while it does not decode
        self.place = 0  # order of arrival

    @property
    def goodput(self) -> float:
        """What the answer weighs for the controller."""
        return 0.15 * self.prompt + self.output


class Engine:
    """One engine with its queue, batch and cache. `by_priority`: the lower number is admitted first."""

    def __init__(
        self, hardware: Hardware, *, sequences: int | None = None, by_priority: bool = False
    ) -> None:
        self.now = 0.0
        self.generated = 0
        self.preemptions = 0
        self.prompt_tokens = 0
        self.hit_tokens = 0
        self.waiting_most = 0
        self._hardware = hardware
        self._sequences = sequences or hardware.sequences
        self._by_priority = by_priority
        self._linear = hardware.linear_table()
        self._read_s = hardware.read_s
        self._attention_s = hardware.attention_s
        self._queue: deque[Request] = deque()
        self._heap: list[tuple[int, int, Request]] = []
        self._arrived = 0
        self._steps = 0
        self._running: dict[Request, None] = {}
        self._prefilling: list[Request] = []
        self._finishes: list[tuple[int, int, Request]] = []
        self._decoding = 0
        self._context = 0
        self._held = 0
        self._users: dict[int, int] = {}  # segments in use, and by how many
        self._idle: OrderedDict[int, int] = OrderedDict()  # cached, used by nobody: name -> tokens
        self._idle_tokens = 0
        self._nameless = -1
        self._shares = False
        self._seen = (0, 0, 0)

    def submit(self, request: Request) -> None:
        """Take a request into the queue."""
        request.sent_at = self.now
        self._arrived += 1
        request.place = self._arrived
        self._shares = self._shares or bool(request.segments)
        self._wait(request)

    def load(self) -> EngineLoad:
        """What the engine's metrics say: the state after the latest step was planned."""
        running, waiting, held = self._seen
        return EngineLoad(
            running=running,
            waiting=waiting,
            kv_usage=held / self._hardware.kv_tokens,
            preemptions=self.preemptions,
        )

    def run(self, until: float) -> list[Request]:
        """Go on until somebody is done or `until` is reached; returns those who are done."""
        while self.now < until:
            if not self._running and not self._waits():
                self._note()
                self.now = until
                break
            done = self._step(until)
            if done:
                return done
        return []

    # What waits

    def _waits(self) -> int:
        return len(self._heap) if self._by_priority else len(self._queue)

    def _wait(self, request: Request, *, first: bool = False) -> None:
        if self._by_priority:
            heapq.heappush(self._heap, (request.priority, request.place, request))
        elif first:
            self._queue.appendleft(request)
        else:
            self._queue.append(request)

    def _head(self) -> Request:
        return self._heap[0][2] if self._by_priority else self._queue[0]

    def _pop(self) -> Request:
        return heapq.heappop(self._heap)[2] if self._by_priority else self._queue.popleft()

    # One step, or many alike

    def _step(self, until: float) -> list[Request]:
        preempted = self._make_room(self._decoding)
        budget = self._hardware.step_tokens - self._decoding
        tokens = self._decoding
        attention = 0.0
        for request in self._prefilling:
            chunk = min(request.to_prefill, budget)
            attention += self._prefill(request, chunk)
            budget -= chunk
            tokens += chunk
        while budget > 0 and not preempted and self._waits() and len(self._running) < self._sequences:
            request = self._head()
            if not self._admit(request):
                break
            self._pop()
            chunk = min(request.to_prefill, budget)
            attention += self._prefill(request, chunk)
            budget -= chunk
            tokens += chunk
        self._note()
        if not self._prefilling:
            self._decode(until)
        else:
            self._steps += 1
            self.now += (
                self._hardware.overhead_s
                + self._linear[tokens]
                + self._context * self._read_s
                + attention * self._attention_s
            )
            self._grow(1)
        return self._finish()

    def _decode(self, until: float) -> None:
        """Steps that only decode, as many as can be told ahead."""
        many = self._decoding
        base = self._hardware.overhead_s + self._linear[many]
        steps = max(1, self._next_finish() - self._steps)
        steps = min(steps, max(1, self._free() // many))
        steps = min(steps, int((until - self.now) / (base + self._context * self._read_s)) + 1)
        self.now += steps * base
        self.now += self._read_s * (steps * self._context + many * steps * (steps - 1) / 2)
        self._steps += steps
        self._grow(steps)

    def _grow(self, steps: int) -> None:
        new = steps * self._decoding
        self._held += new
        self._context += new
        self.generated += new

    def _next_finish(self) -> int:
        finishes = self._finishes
        while finishes[0][2].finish_step != finishes[0][0]:
            heapq.heappop(finishes)
        return finishes[0][0]

    def _finish(self) -> list[Request]:
        done = []
        finishes = self._finishes
        while finishes and finishes[0][0] <= self._steps:
            step, _, request = heapq.heappop(finishes)
            if request.finish_step == step:
                done.append(request)
                self._stop_decoding(request)
                self._leave(request)
        if self._prefilling:
            still = []
            for request in self._prefilling:
                if request.to_prefill:
                    still.append(request)
                    continue
                request.generated += 1
                self.generated += 1
                if request.generated == 1:
                    request.first_token_at = self.now
                if request.generated >= request.output:
                    done.append(request)
                    self._leave(request)
                else:
                    request.finish_step = self._steps + request.output - request.generated
                    heapq.heappush(self._finishes, (request.finish_step, request.place, request))
                    self._decoding += 1
                    self._context += request.admitted
            self._prefilling = still
        for request in done:
            request.finished_at = self.now
        return done

    # The cache

    def _free(self) -> int:
        return self._hardware.kv_tokens - self._held - self._idle_tokens

    def _make_room(self, tokens: int) -> bool:
        """Have `tokens` free for those who decode; whether somebody was preempted for it."""
        preempted = False
        while self._free() < tokens:
            if self._idle:
                self._evict()
                continue
            victim = (
                max(self._running, key=lambda request: (request.priority, request.place))
                if self._by_priority
                else next(reversed(self._running))
            )
            was_decoding = victim.finish_step
            self._preempt(victim)
            preempted = True
            tokens -= 1 if was_decoding else 0
            if len(self._running) <= 1:
                break
        return preempted

    def _evict(self) -> None:
        _, tokens = self._idle.popitem(last=False)
        self._idle_tokens -= tokens

    def _preempt(self, request: Request) -> None:
        self.preemptions += 1
        if request.finish_step:
            self._stop_decoding(request)
        else:
            self._prefilling.remove(request)
        self._leave(request)
        self._wait(request, first=True)

    def _stop_decoding(self, request: Request) -> None:
        generated = request.output - (request.finish_step - self._steps)
        decoded = generated - request.generated
        request.generated = generated
        request.finish_step = 0
        request.held += decoded
        self._decoding -= 1
        self._context -= request.admitted + decoded

    def _leave(self, request: Request) -> None:
        """It runs no more: its part of the cache is free, or idle if it may be of use again."""
        del self._running[request]
        self._held -= request.held
        if self._shares:
            self._rest(self._nameless, request.held)
            self._nameless -= 1
        request.held = 0
        for name, tokens in reversed(request.segments[: request.pinned]):
            users = self._users[name] - 1
            if users:
                self._users[name] = users
            else:
                del self._users[name]
                self._held -= tokens
                self._rest(name, tokens)
        request.pinned = 0

    def _rest(self, name: int, tokens: int) -> None:
        self._idle[name] = tokens
        self._idle_tokens += tokens

    def _admit(self, request: Request) -> bool:
        """Give it room for its whole prompt, if there is room."""
        whole = request.prompt + request.generated
        hit = 0
        revived = 0
        for name, tokens in request.segments:
            if name in self._users:
                hit += tokens
            elif name in self._idle:
                hit += tokens
                revived += tokens
            else:
                break
        if whole - hit > self._hardware.kv_tokens - self._held - revived:
            return False
        for name, tokens in request.segments:
            if name in self._idle:
                del self._idle[name]
                self._idle_tokens -= tokens
                self._held += tokens
            elif name not in self._users:
                self._held += tokens
            self._users[name] = self._users.get(name, 0) + 1
        request.pinned = len(request.segments)
        request.held = whole - sum(tokens for _, tokens in request.segments)
        self._held += request.held
        while self._free() < 0:
            self._evict()
        request.admitted = whole
        # The last token is always computed, or there would be nothing to go on from.
        request.to_prefill = max(1, whole - hit)
        self.prompt_tokens += whole
        self.hit_tokens += hit
        self._running[request] = None
        self._prefilling.append(request)
        return True

    def _prefill(self, request: Request, chunk: int) -> float:
        """Compute `chunk` tokens of its prompt; returns tokens times their mean position."""
        begins = request.admitted - request.to_prefill
        request.to_prefill -= chunk
        return chunk * (begins + chunk / 2)

    def _note(self) -> None:
        """What the metrics say until the next step."""
        waiting = self._waits()
        self.waiting_most = max(self.waiting_most, waiting)
        self._seen = (len(self._running), waiting, self._held)

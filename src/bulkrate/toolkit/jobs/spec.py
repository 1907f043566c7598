"""What a job was asked to do: frozen when it begins, and kept in its folder. Secrets never stand in it."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from bulkrate.toolkit.places.place import PlaceAsk
from bulkrate.toolkit.questions.asking import Asking


class SourceAsk(msgspec.Struct, frozen=True, kw_only=True):
    """Where the rows come from. `what` is None when they were handed over by a program."""

    what: str | None = None
    query: str | None = None
    table: str | None = None
    format: str | None = None
    limit: int | None = None


class SinkAsk(msgspec.Struct, frozen=True, kw_only=True):
    """Where the rows go, with their answers. `what` is None when a program takes them."""

    what: str | None = None
    table: str | None = None
    format: str | None = None
    options: dict[str, Any] = {}


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """Rows whose `column` has this `value` (as text) go to `model`."""

    column: str
    value: str
    model: str


class ModelAsk(msgspec.Struct, frozen=True, kw_only=True):
    """Which model a row is for: the first rule that fits, the model that `column` names, else `model`.

    Rows that failed, whose answer is not as asked, or is less sure than `confidence_min`, go on to the models
    of `escalate`, one after the other.
    """

    model: str | None = None
    column: str | None = None
    rules: tuple[Rule, ...] = ()
    escalate: tuple[str, ...] = ()
    confidence_min: float | None = None


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """When to raise the alarm, and how: a share of rows answered, hours, a webhook's URL, a command."""

    fail_under: float | None = None
    late_after_s: float | None = None
    webhook: str | None = None
    command: str | None = None


def dollars(amount: float | None) -> str | None:
    """A limit as a spec keeps it: to the cent, or as it was given where that is less."""
    if amount is None:
        return None
    return f"{amount:.2f}" if round(amount, 2) == amount else str(amount)


class JobSpec(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. `reask` and `retries` are how many times a row is asked again because its answer was not as
    asked, or because it failed for a passing reason; `max_cost` is in dollars.
    """

    asking: Asking
    source: SourceAsk = SourceAsk()
    sink: SinkAsk = SinkAsk()
    place: PlaceAsk = PlaceAsk()
    model: ModelAsk = ModelAsk()
    keys: tuple[str, ...] = ()
    window: str = "24h"
    reask: int = 1
    retries: int = 1
    max_cost: str | None = None
    name: str | None = None
    watch: Watch = Watch()

    def fingerprint(self, mark: str | None) -> str:
        """The same for the same job over the same content: what a repeated command is known by.

        `mark` is the source's own. Where it runs, what it may cost, who is told and where the result goes
        make no other job of it: its answers are not paid for again to be written elsewhere. But a rehearsal
        in a sandbox is never taken for the real thing.
        """
        place = PlaceAsk() if self.place.sandbox is None else PlaceAsk(sandbox={})
        same = msgspec.structs.replace(self, place=place, watch=Watch(), sink=SinkAsk(), max_cost=None)
        return hashlib.sha256(msgspec.json.encode((same, mark), order="deterministic")).hexdigest()[:32]

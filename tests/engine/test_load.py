"""The lines that a worker holds of a shard: each of its ranges once, and a word before they run out."""

from __future__ import annotations

import pytest

from bulkrate.blobs import LocalBlobs
from bulkrate.core.outcome import Answer, Answered
from bulkrate.core.plan import LineSet, Planned, write_planned
from bulkrate.engine.log import BatchLog
from bulkrate.engine.loops import load as module
from bulkrate.engine.loops.load import ShardLoad
from bulkrate.store.records import LogEnds, Offer, Range
from bulkrate.testing.blobs import store as keep
from tests.store.records import NOW, a_shard
from tests.support.processes import chat_line, jsonl

LINES = 30


class Told:
    """What a load said."""

    def __init__(self) -> None:
        self.low = 0
        self.changes: list[bool] = []

    def on_low(self) -> None:
        self.low += 1


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def load(tmp_path, told, monkeypatch) -> ShardLoad:
    """A load of a shard of thirty lines, of which no range is held."""
    monkeypatch.setattr(module, "_PLANS_AT_ONCE", 4)
    blobs = LocalBlobs(tmp_path)
    lines = [jsonl(chat_line(f"row-{number}")) for number in range(1, LINES + 1)]
    plan, offset = b"", 0
    for number, line in enumerate(lines, start=1):
        plan += write_planned(Planned(offset, len(line) - 1, number, number))
        offset += len(line)
    shard = a_shard("batch_1", lines=LINES)
    keep(blobs, shard.plan, plan)
    keep(blobs, "input", b"".join(lines))
    offer = Offer(shard=shard, endpoint="/v1/chat/completions", expires_at=NOW, input_blob="input")
    return ShardLoad(
        offer,
        plan=blobs.open(shard.plan),
        source=blobs.open("input"),
        log=BatchLog("batch_1", LogEnds()),
        may_send=lambda expires_at: expires_at == NOW,
        on_low=told.on_low,
        on_change=told.changes.append,
    )


def a_range(start: int, lines: int, *, fresh: bool = True) -> Range:
    return Range(batch_id="batch_1", shard=0, start=start, lines=lines, fresh=fresh)


def take_all(load: ShardLoad) -> list:
    works = []
    while (work := load.take()) is not None:
        works.append(work)
    return works


def numbers(works: list) -> list[int]:
    return [work.line.line for work in works]


def test_a_load_without_a_range_has_no_line(load):
    assert load.take() is None
    assert load.stock == 0


def test_the_lines_of_its_ranges_come_in_the_order_in_which_they_were_fed(load):
    load.feed(load.hold(a_range(10, 6)))
    load.feed(load.hold(a_range(0, 2)))
    assert load.stock == 8
    assert numbers(take_all(load)) == [11, 12, 13, 14, 15, 16, 1, 2]
    assert (load.stock, load.taken) == (0, 8)


def test_a_load_that_ran_out_goes_on_when_it_is_fed_again(load):
    load.feed(load.hold(a_range(0, 3)))
    assert numbers(take_all(load)) == [1, 2, 3]
    load.feed(load.hold(a_range(3, 3)))
    assert numbers(take_all(load)) == [4, 5, 6]


@pytest.mark.parametrize(("low", "at"), [(0, 0), (3, 3), (99, 7)])
def test_it_says_when_few_are_left_and_says_it_once(load, told, low, at):
    load.feed(load.hold(a_range(0, 8)))
    load.warn_at(low)
    for left in reversed(range(8)):
        load.take()
        assert told.low == (left <= at)


def test_it_says_it_again_when_it_is_asked_to_at_fewer(load, told):
    load.feed(load.hold(a_range(0, 8)))
    load.warn_at(6)
    while not told.low:
        load.take()
    load.warn_at(3)
    for left in reversed(range(load.stock)):
        load.take()
        assert told.low == 1 + (left <= 3)


def test_of_a_range_with_holes_only_the_rest_is_sent(load):
    finished = LineSet()
    for number in (1, 3, 6):
        finished.add(number)
    part = load.hold(a_range(0, 6, fresh=False))
    load.feed_rest(part, finished)
    assert (load.stock, part.left) == (3, 3)
    assert numbers(take_all(load)) == [2, 4, 5]


def test_lines_that_are_tested_first_are_not_taken_again(load):
    finished = LineSet()
    finished.add(2)
    part = load.hold(a_range(0, 4, fresh=False))
    works = load.works_left(part, finished)
    assert numbers(works) == [1, 3, 4]
    assert (part.left, part.taken, load.stock) == (3, 4, 0)
    assert load.take() is None


def test_a_range_is_done_when_each_of_its_lines_has_an_outcome(load, told):
    first, second = load.hold(a_range(0, 2)), load.hold(a_range(2, 2))
    load.feed(first)
    load.feed(second)
    works = take_all(load)
    for place in (0, 2, 1):
        load.settle(works[place], Answered(Answer(200, b"{}")))
    assert (first.left, second.left) == (0, 1)
    assert (load.settled, told.changes) == (3, [False] * 3)


def test_behind_the_stop_line_nothing_is_taken(load):
    load.feed(load.hold(a_range(0, 2)))
    load.expires_at = NOW + 1
    assert not load.in_time
    assert load.take() is None

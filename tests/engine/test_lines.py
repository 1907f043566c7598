"""One line of a batch, found by its custom_id among its indexes."""

from __future__ import annotations

import json

import pytest

from bulkrate.config import Settings
from bulkrate.core.plan import Fate, Planned, digest_of, write_planned
from bulkrate.engine.asks.lines import find_line, results_by_line
from bulkrate.engine.context import Context, close_context, open_context
from bulkrate.engine.log import BatchLog, LogWriter
from bulkrate.errors import BlobMissing
from bulkrate.store.records import LogEnds
from bulkrate.testing.blobs import store as keep
from tests.store.records import NOW, a_batch, a_file, a_shard, a_worker, admit
from tests.support.processes import chat_line, jsonl

NAMES = ("row-1", "ünï", "", "4")


@pytest.fixture
def context(tmp_path):
    context = open_context(Settings(data=str(tmp_path)))
    yield context
    close_context(context)


def prepare(context: Context, outcomes: dict[int, Fate]) -> None:
    """A batch of four lines in two shards, of which some have an outcome, written by two workers."""
    store, blobs = context.store, context.blobs
    store.files.add(a_file())
    lines = [jsonl(chat_line(name))[:-1] for name in NAMES]
    keep(blobs, "files/file-1", b"\n".join(lines))
    offset, plans = 0, [b"", b""]
    for number, (name, line) in enumerate(zip(NAMES, lines, strict=True), 1):
        plans[number % 2] += write_planned(Planned(offset, len(line), number, digest_of(name)))
        offset += len(line) + 1
    store.batches.create(a_batch())
    shards = [a_shard("batch_1", shard, lines=2) for shard in (0, 1)]
    for shard, plan in zip(shards, plans, strict=True):
        keep(blobs, shard.plan, plan)
    admit(store, "batch_1", *shards, epoch=a_worker(store, "clerk"))
    for line, fate in outcomes.items():
        writer = LogWriter(store, blobs, a_worker(store))
        log = BatchLog("batch_1", LogEnds())
        log.add(line, fate, b'{"line":%d}\n' % line)
        writer.commit([log.hand_over()], now=NOW, lease_s=15.0)
        writer.close()


def find(context: Context, custom_id: str):
    return find_line(context, context.store.batches.by_id("batch_1"), custom_id)


def test_a_line_is_found_with_its_result_or_without(context):
    prepare(context, {1: Fate.ANSWERED, 2: Fate.FAILED})
    for number, name in enumerate(NAMES, 1):
        pair = find(context, name)
        assert (pair.custom_id, pair.line) == (name, number)
        assert json.loads(bytes(pair.request)) == chat_line(name)
        assert (pair.result and bytes(pair.result)) == (b'{"line":%d}' % number if number <= 2 else None)


def test_an_id_that_is_not_in_the_batch_is_not_found(context):
    prepare(context, {})
    assert find(context, "row-2") is None


def test_a_line_whose_input_is_gone_is_missing(context):
    prepare(context, {})
    context.blobs.delete("files/file-1")
    with pytest.raises(BlobMissing):
        find(context, "row-1")


def test_all_results_of_a_small_batch_are_found_by_line(context):
    prepare(context, {3: Fate.ANSWERED, 1: Fate.REJECTED, 4: Fate.NEVER_RAN})
    assert results_by_line(context, "batch_1") == {3: b'{"line":3}', 1: b'{"line":1}', 4: b'{"line":4}'}

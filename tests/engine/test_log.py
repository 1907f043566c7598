"""The result log: what is handed over stands where its ledger says, and what counts is read back whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.blobs import LocalBlobs
from bulkrate.core.plan import Fate, read_ledger
from bulkrate.engine import paths
from bulkrate.engine.log import BatchLog, Group, LogWriter, finished_lines, read_fates, read_pieces
from bulkrate.errors import Fenced
from bulkrate.providers.usage import Usage
from bulkrate.store import Store
from bulkrate.store.records import LogEnds, RangeNews
from bulkrate.testing.blobs import content
from tests.store.records import NOW, a_worker, running

outcomes = st.lists(
    st.tuples(
        st.integers(1, 1_000), st.sampled_from(Fate), st.binary(max_size=30), st.none() | st.integers(0, 9)
    )
)
ends = st.builds(
    LogEnds,
    output=st.integers(0, 2**40),
    errors=st.integers(0, 2**40),
    ledger=st.integers(0, 2**30).map(lambda records: records * 20),
)


def usage_of(tokens: int | None) -> Usage | None:
    return None if tokens is None else Usage(input_tokens=tokens, total_tokens=tokens)


@given(ends, st.lists(outcomes))
def test_every_record_stands_where_its_ledger_says(begin, handed_over):
    log = BatchLog("batch_1", begin)
    groups: list[Group] = []
    for part in handed_over:
        for line, fate, record, tokens in part:
            log.add(line, fate, record, usage_of(tokens))
        assert log.waiting_bytes == sum(len(record) for _, _, record, _ in part)
        groups.append(log.hand_over())
        assert log.waiting_bytes == 0

    streams = {
        name: b"".join(chunk for group in groups for chunk in getattr(group, name))
        for name in ("output", "errors", "ledger")
    }
    settled = list(read_ledger(streams["ledger"]))
    added = [outcome for part in handed_over for outcome in part]
    assert [(line, fate) for line, fate, _, _ in settled] == [(line, fate) for line, fate, _, _ in added]
    for (_, fate, offset, length), (_, _, record, _) in zip(settled, added, strict=True):
        stream = "output" if Fate(fate).in_output else "errors"
        at = offset - getattr(begin, stream)
        assert streams[stream][at : at + length] == record


@given(ends, st.lists(outcomes))
def test_groups_follow_one_another_and_count_what_they_hold(begin, handed_over):
    log = BatchLog("batch_1", begin)
    end = begin
    for part in handed_over:
        for line, fate, record, tokens in part:
            log.add(line, fate, record, usage_of(tokens))
        commit = log.hand_over().commit
        assert commit.since == end
        fates = [fate for _, fate, _, _ in part]
        assert commit.completed == fates.count(Fate.ANSWERED)
        assert commit.failed == fates.count(Fate.FAILED) + fates.count(Fate.REJECTED)
        assert commit.usage.total_tokens == sum(tokens or 0 for _, _, _, tokens in part)
        sizes = {True: 0, False: 0}
        for _, fate, record, _ in part:
            sizes[fate.in_output] += len(record)
        assert commit.until == LogEnds(
            output=end.output + sizes[True],
            errors=end.errors + sizes[False],
            ledger=end.ledger + 20 * len(part),
        )
        end = commit.until


def test_what_a_shard_has_to_tell_goes_with_the_group():
    news = (RangeNews(shard=3, start=0, done=True),)
    assert BatchLog("batch_1", LogEnds()).hand_over(news).commit.ranges == news


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "bulkrate.db")
    yield store
    store.close()


@pytest.fixture
def blobs(tmp_path) -> LocalBlobs:
    return LocalBlobs(tmp_path / "blobs")


@pytest.fixture
def writer(store, blobs):
    running(store)
    writer = LogWriter(store, blobs, a_worker(store))
    yield writer
    writer.close()


def a_group(log: BatchLog, *outcomes: tuple[int, Fate, bytes]) -> Group:
    for line, fate, record in outcomes:
        log.add(line, fate, record)
    return log.hand_over()


def commit(writer: LogWriter, *groups: Group) -> None:
    writer.commit(groups, now=NOW, lease_s=15.0)


def test_what_is_committed_is_durable_and_counts(store, blobs, writer):
    log = BatchLog("batch_1", LogEnds())
    commit(writer, a_group(log, (1, Fate.ANSWERED, b"one\n"), (2, Fate.FAILED, b"two\n")))
    commit(writer, a_group(log, (3, Fate.ANSWERED, b"three\n")))
    epoch = writer._epoch
    assert content(blobs, paths.of_log("batch_1", epoch, "output")) == b"one\nthree\n"
    assert content(blobs, paths.of_log("batch_1", epoch, "errors")) == b"two\n"
    batch = store.batches.by_id("batch_1")
    assert (batch.completed, batch.failed) == (2, 1)
    fates = [fate[1:] for fate in read_fates(blobs, store.work.extents("batch_1"))]
    assert fates == [(1, 0, 0, 4), (2, 1, 0, 4), (3, 0, 4, 6)]


def test_committing_the_same_groups_again_changes_nothing(store, blobs, writer):
    log = BatchLog("batch_1", LogEnds())
    groups = [a_group(log, (1, Fate.ANSWERED, b"one\n")), a_group(log, (2, Fate.ANSWERED, b"two\n"))]
    for _ in range(2):
        writer.write(groups)
    for _ in range(2):
        commit(writer, *groups)
    assert content(blobs, paths.of_log("batch_1", writer._epoch, "output")) == b"one\ntwo\n"
    assert store.batches.by_id("batch_1").completed == 2


def test_a_group_without_outcomes_writes_no_file(blobs, writer):
    commit(writer, BatchLog("batch_1", LogEnds()).hand_over((RangeNews(shard=0, start=0),)))
    with pytest.raises(Exception, match="no bytes"):
        blobs.open(paths.of_log("batch_1", writer._epoch, "ledger"))


def test_what_the_dead_have_written_does_not_count(store, blobs, writer):
    store.work.bury(writer._epoch)
    with pytest.raises(Fenced):
        commit(writer, a_group(BatchLog("batch_1", LogEnds()), (1, Fate.ANSWERED, b"one\n")))
    assert list(read_fates(blobs, store.work.extents("batch_1"))) == []


def test_what_was_written_and_never_committed_is_written_over(store, blobs, writer):
    log = BatchLog("batch_1", LogEnds())
    commit(writer, a_group(log, (1, Fate.ANSWERED, b"one\n")))
    writer.write([a_group(log, (2, Fate.ANSWERED, b"lost, and long\n"))])
    log = BatchLog("batch_1", store.work.log_ends(writer._epoch, "batch_1"))
    commit(writer, a_group(log, (3, Fate.ANSWERED, b"three\n")))
    assert [line for _, line, *_ in read_fates(blobs, store.work.extents("batch_1"))] == [1, 3]
    (extent,) = store.work.extents("batch_1")
    output = content(blobs, paths.of_log("batch_1", writer._epoch, "output"))
    assert output[: extent.output_end] == b"one\nthree\n"


def test_finished_lines_are_all_or_those_of_one_fate(store, blobs, writer):
    log = BatchLog("batch_1", LogEnds())
    commit(writer, a_group(log, *((line, fate, b"x\n") for line, fate in enumerate(Fate, 1))))
    extents = store.work.extents("batch_1")
    finished = finished_lines(blobs, extents)
    assert [line for line in range(10) if line in finished] == [1, 2, 3, 4]
    answered = finished_lines(blobs, extents, only=Fate.ANSWERED)
    assert [line for line in range(10) if line in answered] == [1]


@given(st.integers(0, 400), st.integers(0, 400))
def test_pieces_are_the_stretch_cut_between_records(start, length):
    class Letters:
        size = 10**9

        def read_at(self, offset: int, length: int) -> bytes:
            return bytes(place % 251 for place in range(offset, offset + length))

        def close(self) -> None: ...

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bulkrate.engine.log._READ_BYTES", 250)
        pieces = list(read_pieces(Letters(), start, start + length))
    assert b"".join(pieces) == Letters().read_at(start, length)
    assert all(len(piece) % 120 == 0 for piece in pieces[:-1])

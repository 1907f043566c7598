"""Bytes from anywhere: whatever is asked for is a slice of the whole."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkrate.blobs import LocalBlobs
from bulkrate.core.plan import Fate
from bulkrate.engine import paths
from bulkrate.engine.asks import content
from bulkrate.engine.asks.content import (
    Content,
    InputOrderedOutput,
    Segment,
    SegmentedContent,
    stream_segments,
)
from bulkrate.engine.log import BatchLog
from bulkrate.store.records import Extent, LogEnds
from bulkrate.testing.blobs import store as keep


@pytest.fixture(scope="module", autouse=True)
def small_steps():
    """Read a few bytes and lines at once, so that small contents have many seams."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(content, "_CHUNK_BYTES", 7)
        patch.setattr(content, "_LINES_AT_ONCE", 3)
        yield


@pytest.fixture(scope="module")
def blobs(tmp_path_factory) -> LocalBlobs:
    return LocalBlobs(Path(tmp_path_factory.mktemp("blobs")))


def read(what: Content, start: int, end: int) -> bytes:
    async def collect() -> bytes:
        return b"".join([chunk async for chunk in what.read(start, end)])

    return asyncio.run(collect())


places = st.integers(0, 60)


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.binary(max_size=20), st.integers(0, 20), st.integers(0, 20)), max_size=5),
    places,
    places,
)
def test_any_range_of_stretches_is_a_slice_of_them_joined(blobs, stretches, start, end):
    segments, whole = [], b""
    for number, (data, one, other) in enumerate(stretches):
        first, last = sorted((min(one, len(data)), min(other, len(data))))
        keep(blobs, f"stretch/{number}", data)
        segments.append(Segment(f"stretch/{number}", first, last))
        whole += data[first:last]
    segmented = SegmentedContent(blobs, segments, filename="x")
    assert segmented.size == len(whole)
    assert read(segmented, 0, segmented.size) == whole
    assert read(segmented, start, end) == whole[start:end]


def write_extents(blobs: LocalBlobs, batch_id: str, commits: list[tuple[int, list[tuple[int, Fate]]]]):
    """Outcomes written by several workers in turn, as extents; and what they wrote, in order."""
    logs: dict[int, BatchLog] = {}
    extents: list[Extent] = []
    records = {"output": b"", "errors": b""}
    for epoch, outcomes in commits:
        log = logs.setdefault(epoch, BatchLog(batch_id, LogEnds()))
        for line, fate in outcomes:
            record = b"%d:%s\n" % (line, b"x" * (line % 5))
            log.add(line, fate, record)
            records["output" if fate.in_output else "errors"] += record
        group = log.hand_over()
        since, until = group.commit.since, group.commit.until
        for stream in ("output", "errors", "ledger"):
            blobs.write_log(
                paths.of_log(batch_id, epoch, stream), getattr(since, stream), getattr(group, stream)
            )
        extents.append(
            Extent(
                batch_id=batch_id,
                number=len(extents),
                epoch=epoch,
                output_start=since.output,
                output_end=until.output,
                errors_start=since.errors,
                errors_end=until.errors,
                ledger_start=since.ledger,
                ledger_end=until.ledger,
            )
        )
    return extents, records


@st.composite
def written(draw) -> list[tuple[int, list[tuple[int, Fate]]]]:
    """Commits of up to three workers, with each line of a batch settled at most once, in any order."""
    lines = draw(st.lists(st.integers(1, 40), unique=True))
    outcomes = [(line, draw(st.sampled_from(Fate))) for line in lines]
    commits = []
    while outcomes:
        count = draw(st.integers(1, len(outcomes)))
        commits.append((draw(st.integers(1, 3)), outcomes[:count]))
        outcomes = outcomes[count:]
    return commits


@settings(max_examples=50)
@given(written(), st.sampled_from(["output", "errors"]), places, places)
def test_a_stream_is_what_was_committed_in_its_order(blobs, commits, stream, start, end):
    extents, records = write_extents(blobs, "batch_stream", commits)
    segmented = SegmentedContent(blobs, stream_segments(extents, stream), filename="x")
    assert segmented.size == len(records[stream])
    assert read(segmented, start, end) == records[stream][start:end]


@settings(max_examples=50)
@given(written(), places, places)
def test_output_in_input_order_is_the_answered_lines_by_number(blobs, commits, start, end):
    extents, _ = write_extents(blobs, "batch_ordered", commits)
    answered = sorted(line for _, outcomes in commits for line, fate in outcomes if fate is Fate.ANSWERED)
    whole = b"".join(b"%d:%s\n" % (line, b"x" * (line % 5)) for line in answered)
    ordered = InputOrderedOutput(blobs, extents, filename="x")
    assert ordered.size == len(whole)
    assert read(ordered, 0, ordered.size) == whole
    assert read(ordered, start, end) == whole[start:end]


def test_long_answers_are_read_a_few_at_a_time(blobs):
    # A thousand answers were once joined whatever their length: of images, a thousand megabytes.
    extents, _ = write_extents(blobs, "batch_long", [(1, [(line, Fate.ANSWERED) for line in range(1, 30)])])

    async def chunks() -> list[bytes]:
        ordered = InputOrderedOutput(blobs, extents, filename="x")
        return [chunk async for chunk in ordered.read(0, ordered.size)]

    assert max(map(len, asyncio.run(chunks()))) <= 7 + len("29:xxxx\n")


def test_reading_may_stop_anywhere(blobs):
    extents, _ = write_extents(blobs, "batch_stop", [(1, [(line, Fate.ANSWERED) for line in range(1, 30)])])

    async def first_chunks() -> None:
        for what in (
            InputOrderedOutput(blobs, extents, filename="x"),
            SegmentedContent(blobs, stream_segments(extents, "output"), filename="x"),
        ):
            reading = what.read(0, what.size)
            assert await anext(reading)
            await reading.aclose()

    before = len(list(Path("/proc/self/fd").iterdir()))
    asyncio.run(first_chunks())
    assert len(list(Path("/proc/self/fd").iterdir())) == before

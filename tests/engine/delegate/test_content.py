"""A content has just the lines that fit, in the provider's words, and knows which they are."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest

from bulkrate.blobs import LocalBlobs
from bulkrate.core.delegation import Room
from bulkrate.core.plan import LineSet, Planned, write_planned
from bulkrate.engine.delegate.content import ContentLines, ContentWriter, unfinished
from bulkrate.errors import BlobMissing
from bulkrate.providers.batch.base import line_id
from bulkrate.providers.batch.openai import OpenAIBatch
from bulkrate.store.records import Range
from tests.support.processes import chat_line

KEY = "batches/b/rb_1.content"


@pytest.fixture
def blobs(tmp_path):
    return LocalBlobs(tmp_path)


def put(blobs, key: str, data: bytes):
    writer = blobs.create(key)
    writer.write(data)
    writer.keep()
    return blobs.open(key)


def written(blobs, bodies: list[dict], room: Room, *ranges: tuple[int, int], done=()):
    """A content of these ranges of a shard; line n of the input is the n-th body."""
    lines = [json.dumps(body).encode() for body in bodies]
    records, offset = [], 0
    for number, line in enumerate(lines, start=1):
        records.append(write_planned(Planned(offset, len(line), number, number)))
        offset += len(line) + 1
    plan, source = put(blobs, "plan", b"".join(records)), put(blobs, "input", b"\n".join(lines) + b"\n")
    finished = LineSet()
    for line in done:
        finished.add(line)
    writer = ContentWriter(
        blobs,
        KEY,
        remote="rb_1",
        vendor=OpenAIBatch(),
        endpoint="/v1/chat/completions",
        model=None,
        room=room,
        put={},
        drop=(),
        source=source,
    )
    for start, count in ranges:
        one = Range(batch_id="b", shard=0, start=start, lines=count, fresh=False)
        writer.add(one, plan, finished)
        assert unfinished(one, plan, finished) == sum(
            n not in done for n in range(start + 1, start + count + 1)
        )
    found = writer.keep()
    plan.close()
    source.close()
    return writer, found


def bodies(count: int) -> list[dict]:
    return [chat_line(f"row-{number}", "hello") for number in range(count)]


def test_lines_stand_in_order_without_those_that_are_finished(blobs):
    _, found = written(blobs, bodies(6), Room(lines=100, bytes=10_000), (0, 3), (4, 2), done=(2,))
    reader = blobs.open(KEY)
    content = reader.read_at(0, reader.size)
    reader.close()
    ids = [json.loads(line)["custom_id"] for line in content.split(b"\n")]
    assert ids == [line_id("rb_1", number) for number in (1, 3, 5, 6)]
    assert (found.lines, found.size, found.fingerprint) == (
        4,
        len(content),
        hashlib.sha256(content).hexdigest(),
    )
    assert [(one.start, one.lines) for one in found.ranges] == [(0, 3), (4, 2)]
    lines = ContentLines(blobs, KEY)
    assert [planned.line for planned in lines] == [1, 3, 5, 6]
    assert lines.nth(2).line == 3
    assert (lines.nth(0), lines.nth(5), lines.find(2)) == (None, None, None)
    assert lines.find(5).line == 5


def test_what_does_not_fit_is_cut_off_within_a_range(blobs):
    writer, found = written(blobs, bodies(6), Room(lines=4, bytes=10_000), (0, 6))
    assert writer.full
    assert [(one.start, one.lines) for one in found.ranges] == [(0, 4)]


def test_without_a_line_there_is_no_content(blobs):
    _, found = written(blobs, bodies(2), Room(lines=4, bytes=10_000), (0, 2), done=(1, 2))
    assert (found.lines, [(one.start, one.lines) for one in found.ranges]) == (0, [(0, 2)])
    with pytest.raises(BlobMissing):
        blobs.open(KEY)


def test_a_line_that_is_larger_than_a_batch_is_unfit_and_holds_up_no_other(blobs):
    lines = [*bodies(1), chat_line("huge", "x" * 2_000), *bodies(1)]
    writer, found = written(blobs, lines, Room(lines=9, bytes=1_000), (0, 3))
    assert [(unfit.planned.line, unfit.code) for unfit in writer.unfit] == [(2, "too_large_for_provider")]
    assert found.lines == 2


def test_the_bytes_of_a_picture_are_not_taken_for_tokens(blobs):
    png = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x02\x00\x00\x00\x02\x00" + bytes(400_000)
    url = "data:image/png;base64," + base64.b64encode(png).decode()
    line = chat_line("picture")
    line["body"]["messages"][0]["content"] = [{"type": "image_url", "image_url": {"url": url}}]
    _, found = written(blobs, [line], Room(lines=9, bytes=1_000_000), (0, 1))
    assert 0 < found.tokens < 10_000

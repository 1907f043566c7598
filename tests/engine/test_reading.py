"""One pass over an input: every fit line stands in the plan, every other line is told of."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkrate.blobs import LocalBlobs
from bulkrate.config import Limits
from bulkrate.core.models import ANY, Catalogue
from bulkrate.core.plan import Fate, LineSet, Planned, digest_of, read_plan
from bulkrate.core.validate import take_apart
from bulkrate.engine.log import LogWriter, read_fates
from bulkrate.engine.loops import reading as module
from bulkrate.engine.loops.reading import Reading, checker_for
from bulkrate.errors import BlobMissing
from bulkrate.store import Store
from bulkrate.store.records import Extent
from bulkrate.testing.blobs import content, is_missing
from bulkrate.testing.blobs import store as keep
from tests.store.records import a_worker
from tests.support.processes import chat_line, jsonl

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def blobs(tmp_path_factory) -> LocalBlobs:
    return LocalBlobs(tmp_path_factory.mktemp("blobs"))


@pytest.fixture(scope="module")
def writer(tmp_path_factory, blobs):
    store = Store(tmp_path_factory.mktemp("store") / "bulkrate.db")
    writer = LogWriter(store, blobs, a_worker(store))
    yield writer
    writer.close()
    store.close()


def read(
    blobs: LocalBlobs,
    data: bytes,
    writer: LogWriter | None = None,
    *,
    endpoint: str = CHAT,
    isolates: bool = False,
    skip: Sequence[int] = (),
    models: tuple[str, ...] = (ANY,),
    **limits: int,
) -> Reading:
    """Read an input of these bytes."""
    keep(blobs, "files/input", data)
    given_limits = Limits(**limits)
    done = LineSet()
    for line in skip:
        done.add(line)
    reading = Reading(
        "batch_1",
        endpoint,
        checker=checker_for(endpoint, [Catalogue(models, {})], given_limits),
        isolates=isolates,
        already_answered=done,
        limits=given_limits,
        blobs=blobs,
    )
    source = blobs.open("files/input")
    asyncio.run(reading.read(source, writer))
    source.close()
    return reading


def plan_of(blobs: LocalBlobs, reading: Reading) -> dict[str, list[Planned]]:
    """The kept plan, by model."""
    return {shard.model: list(read_plan(content(blobs, shard.plan))) for shard in reading.keep()}


def faults_of(reading: Reading) -> list[tuple[int, str]]:
    return [(fault.line, fault.code) for fault in reading.faults]


def told_of(blobs: LocalBlobs, reading: Reading, writer: LogWriter) -> list[dict]:
    """The isolated lines as they stand in the error log."""
    reading.spill(writer)
    until = reading.told.until
    if not until.ledger:
        return []
    extent = Extent(
        batch_id="batch_1",
        number=0,
        epoch=writer._epoch,
        output_start=0,
        output_end=until.output,
        errors_start=0,
        errors_end=until.errors,
        ledger_start=0,
        ledger_end=until.ledger,
    )
    log = content(blobs, f"batches/batch_1/{writer._epoch}.errors")
    told = []
    for _, line, fate, offset, length in read_fates(blobs, [extent]):
        assert fate == Fate.REJECTED
        told.append({"line": line, **json.loads(log[offset : offset + length])})
    return told


kinds = st.sampled_from(["good", "good", "twin", "other model", "blank", "bad", "no json", "plain"])


def a_line(kind: str, number: int) -> bytes:
    return {
        "good": jsonl(chat_line(f"row-{number}"))[:-1],
        "twin": jsonl(chat_line("twin"))[:-1],
        "other model": jsonl(chat_line(f"row-{number}", model="n"))[:-1],
        "blank": b"  ",
        "bad": jsonl(chat_line(f"row-{number}") | {"method": "GET"})[:-1],
        "no json": b"{",
        "plain": json.dumps({"model": "gpt-4o-mini", "messages": []}).encode(),
    }[kind]


files = st.lists(kinds, min_size=1, max_size=25)
FIT = ("good", "twin", "other model", "plain")


def expected(kinds: list[str]) -> tuple[list[int], list[tuple[int, str]]]:
    """The numbers of lines to be planned, and the faults, thought out line by line."""
    planned = [number for number, kind in enumerate(kinds, 1) if kind in FIT]
    faults = []
    for number, kind in enumerate(kinds, 1):
        if kind == "bad":
            faults.append((number, "invalid_value"))
        elif kind == "no json":
            faults.append((number, "invalid_json_line"))
        elif kind == "twin" and "twin" in kinds[: number - 1]:
            faults.append((number, "duplicate_custom_id"))
    return planned, faults


@settings(max_examples=40)
@given(files, st.sampled_from([b"\n", b"\r\n"]), st.booleans())
def test_every_fit_line_is_planned_and_every_fault_is_told_in_line_order(blobs, kinds, end, ends):
    data = end.join(a_line(kind, number) for number, kind in enumerate(kinds, 1)) + (end if ends else b"")
    reading = read(blobs, data)
    planned, faults = expected(kinds)
    plan = plan_of(blobs, reading)
    assert sorted(record.line for records in plan.values() for record in records) == planned
    for model, records in plan.items():
        for record in records:
            line = data[record.offset : record.offset + record.length]
            assert line == a_line(kinds[record.line - 1], record.line)
            custom_id, body = take_apart(line)
            assert json.loads(body)["model"] == model
            assert record.digest == digest_of(json.loads(custom_id) if custom_id else str(record.line))
    if all(kind == "blank" for kind in kinds):
        faults = [(0, "empty_file")]
    assert faults_of(reading) == faults
    assert reading.lines == sum(kind != "blank" for kind in kinds)


@settings(max_examples=40)
@given(files, st.booleans())
def test_isolated_lines_are_told_of_once_and_the_rest_is_planned(blobs, writer, kinds, spills):
    data = b"\n".join(a_line(kind, number) for number, kind in enumerate(kinds, 1))
    if all(kind == "blank" for kind in kinds):
        return
    with pytest.MonkeyPatch.context() as patch:
        if spills:
            patch.setattr(module, "_SPILL_BYTES", 0)
        reading = read(blobs, data, writer, isolates=True)
    planned, faults = expected(kinds)
    assert reading.faults == []
    told = told_of(blobs, reading, writer)
    assert sorted((one["line"], one["error"]["code"]) for one in told) == faults
    duplicates = sum(code == "duplicate_custom_id" for _, code in faults)
    assert (reading.isolated, reading.struck) == (len(faults), duplicates)
    assert reading.told.failed == len(faults)
    for one in told:
        # A repeated id is told under that id; what has no id is told under its line number.
        kind = kinds[one["line"] - 1]
        named = {"twin": "twin", "bad": f"row-{one['line']}", "no json": str(one["line"])}
        assert one["custom_id"] == named[kind]
    plan = plan_of(blobs, reading)
    lines = Counter(record.line for records in plan.values() for record in records)
    assert sorted(lines) == planned
    total = sum(len(records) for records in plan.values()) + reading.isolated - reading.struck
    assert total == reading.lines


def test_lines_that_an_earlier_batch_answered_are_left_out(blobs):
    data = jsonl(*(chat_line(f"row-{number}") for number in range(1, 6)))
    reading = read(blobs, data, skip=[2, 4])
    (records,) = plan_of(blobs, reading).values()
    assert [record.line for record in records] == [1, 3, 5]


@pytest.mark.parametrize(
    ("data", "limits", "fault"),
    [
        (b"", {}, (0, "empty_file")),
        (b"\n \n\r\n", {}, (0, "empty_file")),
        (b"\xef\xbb\xbf", {}, (0, "empty_file")),
        (jsonl(chat_line("a"), chat_line("b"), chat_line("c")), {"lines_max": 2}, (0, "too_many_tasks")),
        (jsonl(chat_line("a", "x" * 300)), {"line_bytes_max": 300}, (1, "invalid_request")),
    ],
)
@pytest.mark.parametrize("isolates", [False, True])
def test_a_file_that_cannot_be_a_batch(blobs, data, limits, fault, isolates):
    reading = read(blobs, data, isolates=isolates, **limits)
    if fault[0] == 0:
        assert faults_of(reading) == [fault]
        assert not reading.isolates  # the whole file is refused, whatever was asked for its lines
    else:
        assert faults_of(reading) == ([] if isolates else [fault])
    reading.discard()


def test_a_file_of_exactly_the_most_lines_is_fine(blobs):
    reading = read(blobs, jsonl(chat_line("a"), chat_line("b")), lines_max=2)
    assert reading.faults == []
    reading.discard()


def test_inputs_to_embed_are_counted_over_all_lines(blobs):
    def embed(name, *texts):
        body = {"model": "e", "input": list(texts)}
        return {"custom_id": name, "method": "POST", "url": "/v1/embeddings", "body": body}

    data = jsonl(embed("a", "x", "y"), embed("b", "z"))
    for most, faults in ((3, []), (2, [(0, "too_many_tasks")])):
        reading = read(blobs, data, endpoint="/v1/embeddings", embedding_inputs_max=most)
        assert faults_of(reading) == faults
        reading.discard()


def test_no_more_faults_are_kept_than_the_limit_and_the_rest_is_counted(blobs):
    reading = read(blobs, b"{\n" * 10, faults_max=4)
    assert faults_of(reading) == [(number, "invalid_json_line") for number in (1, 2, 3, 4)]
    assert reading.faults_left_out == 6


def test_of_a_million_repetitions_only_the_first_are_kept(blobs, monkeypatch):
    # All of them were once gathered before they were cut: ten million took gigabytes.
    monkeypatch.setattr(module, "_MERGED_AT_ONCE", 3)
    data = b"{\n" + jsonl(chat_line("twin")) * 30 + b"{\n"
    reading = read(blobs, data, faults_max=5)
    assert faults_of(reading) == [
        (1, "invalid_json_line"),
        *((line, "duplicate_custom_id") for line in (3, 4, 5, 6)),
    ]
    assert reading.faults_left_out == 31 - 5
    reading.discard()


def test_a_plain_body_takes_its_line_number_and_may_repeat_an_id(blobs):
    plain = {"model": "gpt-4o-mini", "messages": []}
    reading = read(blobs, jsonl(chat_line("2"), plain))
    assert faults_of(reading) == [(2, "duplicate_custom_id")]
    reading.discard()


def test_each_model_has_a_plan_of_its_own_up_to_a_bound(blobs, monkeypatch):
    monkeypatch.setattr(module, "_MODELS_MAX", 2)
    data = jsonl(*(chat_line(f"row-{model}", model=model) for model in "abca"))
    data = data.replace(b'"row-a"', b'"row-first"', 1)
    reading = read(blobs, data)
    assert reading.lines_by_model == {"a": 2, "b": 1}
    assert faults_of(reading) == [(3, "invalid_request")]
    assert reading.faults[0].custom_id == b'"row-c"'
    reading.discard()


def test_what_is_discarded_leaves_no_plan(blobs):
    reading = read(blobs, jsonl(chat_line("a")))
    key = next(iter(reading._shards.values())).key
    reading.discard()
    assert is_missing(blobs, key)
    with pytest.raises(BlobMissing):
        blobs.open(key)


def test_an_unknown_model_is_told_what_is_served_up_to_a_length(blobs):
    names = tuple(f"model-{number:02}" for number in range(30))
    (fault,) = read(blobs, jsonl(chat_line("a", model="gpt-5")), models=names).faults
    assert "model-00" in fault.message
    assert "model-19, …" in fault.message
    assert "model-20" not in fault.message


def test_a_slice_border_within_a_line_changes_nothing(blobs, monkeypatch):
    data = jsonl(*(chat_line(f"row-{number}", "ü" * number) for number in range(20)))
    (whole,) = plan_of(blobs, read(blobs, data)).values()
    for size in (1, 7, 64):
        monkeypatch.setattr(module, "_SLICE_BYTES", size)
        (cut,) = plan_of(blobs, read(blobs, data)).values()
        assert cut == whole

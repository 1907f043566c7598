"""Jobs on a Batch API that is not ours: what its four endings, and its bad days, do to rows."""

from __future__ import annotations

import msgspec
import pytest

from bulkrate.errors import ConfigError, JobError, NotFound
from bulkrate.toolkit.jobs.record import JobState
from bulkrate.toolkit.jobs.spec import ModelAsk, Rule
from bulkrate.toolkit.places.place import PlaceAsk
from bulkrate.toolkit.sources import open_source
from tests.toolkit.jobs.conftest import Quick, adds_up, asked, rows_of, run


def texts(count: int, say: str = "") -> list[dict[str, str]]:
    return [{"text": f"{number} {say}"} for number in range(count)]


def test_all_rows_are_answered(desk, plain, books):
    folder, record = run(desk, asked(plain.url, "all"), texts(30))
    assert record.state is JobState.DONE
    assert record.counts["answered"] == 30
    assert adds_up(record)
    books.each_once("all", 30)
    assert [row["text"] for row in rows_of(desk, folder)] == [row["text"] for row in texts(30)]
    assert set(plain.manners.creates[0]) == {
        "input_file_id",
        "endpoint",
        "completion_window",
        "metadata",
    }


def test_one_row_that_is_refused_fails_alone(desk, plain, books):
    rows = texts(10)
    rows[4] = {"text": "4 [[sandbox:status=400]]"}
    folder, record = run(desk, asked(plain.url, "one"), rows)
    assert (record.counts["answered"], record.counts["failed"]) == (9, 1)
    told = rows_of(desk, folder)
    assert [row["_status"] for row in told] == ["answered"] * 4 + ["failed"] + ["answered"] * 5
    assert told[4]["_error"]
    assert len(books.calls("one")) == 10


def test_a_batch_that_is_refused_tells_each_row_its_own_fault_and_the_rest_is_sent_again(
    desk, plain, books, tmp_path
):
    lines = [
        {"custom_id": f"c{n}", "method": "POST", "url": "/v1/chat/completions", "body": {
            "model": "m", "user": "refused", "messages": [{"role": "user", "content": f"line {n}"}]}}
        for n in range(8)
    ]  # fmt: skip
    lines[2]["body"]["messages"] = "none"
    lines[5]["body"]["stream"] = True
    path = tmp_path / "requests.jsonl"
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    spec = asked(plain.url)
    spec = msgspec.structs.replace(
        spec,
        asking=msgspec.structs.replace(spec.asking, recipe="requests", prompt=None, params={}),
        source=msgspec.structs.replace(spec.source, what=str(path)),
    )
    folder, _ = desk.begin(spec)
    record = desk.go_on(folder, Quick())
    told = rows_of(desk, folder)
    assert [row["custom_id"] for row in told] == [line["custom_id"] for line in lines]
    faulty = [row for row in told if bytes(row["response"]) == b"null"]
    assert [row["custom_id"] for row in faulty] == ["c2", "c5"]
    assert b"messages" in bytes(faulty[0]["error"])
    assert b"stream" in bytes(faulty[1]["error"])
    assert (record.counts["answered"], record.counts["failed"]) == (6, 2)
    books.each_once("refused", 6)


def test_what_an_expired_batch_had_done_is_kept_and_only_the_rest_is_sent_again(desk, plain, books):
    plain.manners.expire = lambda custom_id: int(custom_id) % 3 == 0
    folder, record = run(desk, asked(plain.url, "late"), texts(30))
    assert record.counts["answered"] == 30
    assert [each.purpose for each in record.rounds] == ["first", "retry"]
    assert record.rounds[1].parts[0].requests == 20
    calls = books.calls("late")
    # The sandbox ran all of them the first time; whoever was told of as late was paid for by that server.
    assert sorted(calls.values()) == [1] * 10 + [2] * 20
    assert all(row["_status"] == "answered" for row in rows_of(desk, folder))


def test_without_retries_late_rows_can_be_sent_later(desk, plain):
    plain.manners.expire = lambda custom_id: int(custom_id) < 5
    spec = asked(plain.url, "later", retries=0)
    folder, record = run(desk, spec, texts(12))
    assert (record.counts["answered"], record.counts["failed"]) == (5, 7)
    assert record.failures == {"batch_expired": 7}
    record = desk.go_on(folder, Quick(), again=True)
    assert record.counts["answered"] == 12
    assert record.rounds[-1].parts[0].requests == 7


def test_a_create_call_that_was_never_answered_is_not_made_twice(desk, plain, books):
    plain.manners.creates_lost = 1
    _, record = run(desk, asked(plain.url, "lost"), texts(9))
    assert record.counts["answered"] == 9
    assert len(plain.manners.creates) == 1
    books.each_once("lost", 9)


def test_a_batch_holds_one_model_where_the_server_wants_it(desk, plain, books):
    rows = [{"text": f"row {n}", "tongue": "de" if n % 2 else "en"} for n in range(10)]
    model = ModelAsk(model="m", rules=(Rule(column="tongue", value="de", model="deutsch"),))
    folder, record = run(desk, asked(plain.url, "two", model=model), rows)
    assert record.counts["answered"] == 10
    assert len(plain.manners.creates) == 2
    assert set(record.tokens) == {"m", "deutsch"}
    books.each_once("two", 10)
    assert [row["text"] for row in rows_of(desk, folder)] == [row["text"] for row in rows]


@pytest.mark.parametrize("no_ranges", [False, True])
def test_results_that_break_off_are_read_on(desk, plain, books, no_ranges):
    plain.manners.contents_cut = 3
    plain.manners.no_ranges = no_ranges
    _, record = run(desk, asked(plain.url, f"cut {no_ranges}"), texts(20))
    assert record.counts["answered"] == 20
    books.each_once(f"cut {no_ranges}", 20)


def test_a_last_line_without_a_break_counts(desk, plain, books):
    plain.manners.no_last_break = True
    _, record = run(desk, asked(plain.url, "bare"), texts(5))
    assert record.counts["answered"] == 5
    books.each_once("bare", 5)


def test_lines_that_are_nobodys_change_nothing(desk, plain, books):
    plain.manners.strange = 2
    folder, record = run(desk, asked(plain.url, "strange"), texts(5))
    assert record.counts["answered"] == 5
    assert adds_up(record)
    assert len(rows_of(desk, folder)) == 5
    books.each_once("strange", 5)


def test_a_batch_that_the_server_does_not_know_is_given_up_by_cancel_and_sent_again_by_retry(desk, plain):
    class Stop(Quick):
        def pause(self, seconds: float) -> None:
            raise KeyboardInterrupt

    spec = asked(plain.url, "gone")
    source = open_source(texts(4, "[[sandbox:sleep_ms=300]]"))
    folder, _ = desk.begin(spec, source)
    with pytest.raises(KeyboardInterrupt):
        desk.go_on(folder, Stop(), source=source)
    record = folder.load()
    record.rounds[0].parts[0].batch_id = "batch_00000000000000000000000000000000"
    folder.save(record)
    with pytest.raises(JobError, match=r"\.cancel\(\), then .*\.retry_failed\(\)"):
        desk.go_on(folder, Quick())
    record = desk.cancel(folder, Quick())
    assert record.state is JobState.CANCELLED
    assert record.counts["failed"] == 4
    record = desk.go_on(folder, Quick(), again=True)
    assert record.counts["answered"] == 4


def test_a_server_without_batches_is_told_of_at_once(desk, upstream):
    with pytest.raises((NotFound, ConfigError), match=r".+"):
        run(desk, asked(upstream.url), texts(2))


def test_a_job_with_lines_out_is_not_moved(desk, plain, server):
    class Stop(Quick):
        def pause(self, seconds: float) -> None:
            raise KeyboardInterrupt

    rows = texts(3, "[[sandbox:sleep_ms=200]]")
    folder, _ = desk.begin(asked(plain.url, "moved"), open_source(rows))
    with pytest.raises(KeyboardInterrupt):
        desk.go_on(folder, Stop(), source=open_source(rows))
    with pytest.raises(JobError, match="cannot be moved"):
        desk.begin(asked(server.url, "moved"), open_source(rows))
    same, known = desk.begin(asked(plain.url, "moved", place=PlaceAsk(server=plain.url)), open_source(rows))
    assert (same.id, known) == (folder.id, True)
    assert desk.go_on(folder, Quick()).counts["answered"] == 3


def test_answers_stand_by_their_own_rows_whatever_became_of_the_batch(desk, plain, server):
    """The sandbox says the same to the same body, so each row can be held against what ours answered."""
    rows = [*texts(20), {"text": "[[sandbox:status=400]]"}, *texts(5, "more")]
    plain.manners.expire = lambda custom_id: int(custom_id) % 7 in {1, 4}
    plain.manners.strange = 1
    told, _ = run(desk, asked(plain.url, "shift"), rows)
    expected, _ = run(desk, asked(server.url, "shift", name="another"), rows)
    answers = [(row["text"], row["answer"]) for row in rows_of(desk, told)]
    assert answers == [(row["text"], row["answer"]) for row in rows_of(desk, expected)]
    assert len({answer for _, answer in answers}) > 20

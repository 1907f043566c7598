"""Result lines: what each says of its rows, whatever a server may have written."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.toolkit.jobs.answers import Answers, Status
from bulkrate.toolkit.jobs.collect import Collector, lines_in
from bulkrate.toolkit.jobs.requests import custom_id_of, rows_in
from bulkrate.toolkit.questions.asking import Asking
from bulkrate.toolkit.recipes import recipe_of
from bulkrate.toolkit.rows.plain import numbers
from bulkrate.toolkit.rows.snapshot import decoded

ROWS = 6
MAP = recipe_of(Asking(recipe="map", prompt="{{ text }}"))
EMBED = recipe_of(Asking(recipe="embed", column="text"))


def collector(recipe=MAP):
    return Collector(recipe, lambda row: {"text": f"row {row}"}, lambda _: "m", ROWS)


def chat(text="yes", **more):
    message = {"role": "assistant", "content": text}
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], **more}


def line(custom_id, body=None, status=200, error=None):
    response = None if body is None else {"status_code": status, "request_id": "r", "body": body}
    return json.dumps({"id": "b", "custom_id": custom_id, "response": response, "error": error}).encode()


def only(found):
    outcomes, _ = found
    assert len(outcomes) == 1
    return outcomes[0]


def test_an_answer_is_taken_with_its_usage():
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    outcomes, used = collector().read(line("2", chat(usage=usage)), None)
    assert (outcomes[0].row, outcomes[0].status, outcomes[0].model) == (2, Status.ANSWERED, "m")
    assert decoded(outcomes[0].cells) == {"answer": "yes"}
    assert (used.input_tokens, used.output_tokens) == (7, 3)
    assert (outcomes[0].input_tokens, outcomes[0].output_tokens) == (7, 3)


@pytest.mark.parametrize(
    ("told", "code", "retryable"),
    [
        (line("1", {"error": {"message": "no", "code": "bad"}}, 400), "bad", False),
        (line("1", {"error": {"message": "no", "code": 400}}, 400), "http_400", False),
        (line("1", {"error": "plain"}, 422), "http_422", False),
        (line("1", "a page", 502), "http_502", True),
        (line("1", {}, 429), "http_429", True),
        (line("1", {}, 408), "http_408", True),
        (line("1", {}, 500), "http_500", True),
        (line("1", error={"code": "batch_expired", "message": "late"}), "batch_expired", True),
        (line("1", error={"code": "invalid_json", "message": "no"}), "invalid_json", False),
        (line("1"), "missing", True),
        (b'{"custom_id":"1"}', "missing", True),
        (b'{"custom_id":"1","response":[],"error":7}', "missing", True),
    ],
)
def test_a_line_without_an_answer_says_why_and_whether_it_may_pass(told, code, retryable):
    outcome = only(collector().read(told, None))
    assert outcome.status == Status.FAILED
    assert (outcome.code, outcome.retryable) == (code, retryable)
    assert outcome.message


@pytest.mark.parametrize(
    "custom_id",
    ["6", "-1", "x", "", "1_0", " 1", "1 ", "+1", "01", "1+", "1+1", "1+0", "4+3", "0+-1", "\u0661", "1e0"],
)
def test_an_id_that_is_not_ours_changes_nothing(custom_id):
    reader = collector()
    assert reader.read(line(custom_id, chat()), None)[0] == []
    assert reader.strange == 1


@pytest.mark.parametrize(
    "told", [b"", b"\n", b"{", b"[]", b"null", b"7", b'{"id":1}', b'{"custom_id":1}', b"\xff"]
)
def test_a_line_that_is_none_changes_nothing(told):
    reader = collector()
    assert reader.read(told, None)[0] == []
    assert reader.strange == 1


@pytest.mark.parametrize("body", [None, [], "text", 3, {}, {"choices": []}, {"choices": [{"message": None}]}])
def test_an_answer_without_a_text_is_not_as_asked(body):
    raw = json.dumps({"custom_id": "0", "response": {"status_code": 200, "body": body}}).encode()
    outcome = only(collector().read(raw, None))
    assert outcome.status == Status.INVALID
    assert outcome.message


@pytest.mark.parametrize("broken", [b"\\ud83d", b"\xf0\x9f"])
def test_a_broken_character_costs_that_character_and_not_the_answer(broken):
    raw = line("0", chat("good PLACE")).replace(b"PLACE", broken)
    outcome = only(collector().read(raw, None))
    assert outcome.status == Status.ANSWERED
    assert decoded(outcome.cells)["answer"].startswith("good ")


def vectors(count):
    data = [{"object": "embedding", "index": n, "embedding": [float(n), 1.0]} for n in range(count)]
    return {"data": data, "usage": {"prompt_tokens": 7, "total_tokens": 7}}


def test_an_answer_for_several_rows_is_parted_and_so_is_its_usage():
    outcomes, used = collector(EMBED).read(line("1+3", vectors(3)), None)
    assert [each.row for each in outcomes] == [1, 2, 3]
    assert [each.input_tokens for each in outcomes] == [3, 2, 2]
    assert used.input_tokens == 7


def test_a_request_of_several_rows_that_is_refused_lets_each_go_alone():
    outcomes, _ = collector(EMBED).read(line("1+3", {"error": {"message": "too long"}}, 400), None)
    assert [(each.row, each.alone, each.retryable) for each in outcomes] == [
        (n, True, False) for n in (1, 2, 3)
    ]
    outcomes, _ = collector(EMBED).read(line("1", {"error": {"message": "too long"}}, 400), None)
    assert not outcomes[0].alone


@pytest.mark.parametrize("count", [0, 2, 4])
def test_a_vector_goes_to_the_row_that_its_index_names_or_to_none(count):
    outcomes, _ = collector(EMBED).read(line("1+3", vectors(count)), None)
    assert [each.row for each in outcomes] == [1, 2, 3]
    for at, each in enumerate(outcomes):
        if each.status == Status.ANSWERED:
            assert list(numbers(decoded(each.cells)["embedding"])) == [float(at), 1.0]
            assert at < count
        else:
            assert each.status == Status.INVALID


def test_usage_that_is_nonsense_fails_no_line():
    outcome = only(collector().read(line("0", chat(usage={"prompt_tokens": -1})), None))
    assert (outcome.status, outcome.input_tokens) == (Status.ANSWERED, 0)


IDS = st.builds(custom_id_of, st.integers(0, ROWS + 1), st.integers(1, 3)) | st.text(max_size=4)
BODIES = st.sampled_from([None, chat(), vectors(1), vectors(2), {}, {"error": {"message": "no"}}])
LINES = st.builds(line, IDS, BODIES, st.sampled_from([200, 400, 500])) | st.binary(max_size=20)


@given(st.lists(LINES, max_size=20), st.sampled_from([MAP, EMBED]))
def test_whatever_comes_back_rows_are_neither_lost_nor_made(tmp_path_factory, lines, recipe):
    reader = collector(recipe)
    with Answers(tmp_path_factory.mktemp("job"), rows=ROWS, committed=0) as answers:
        for told in lines:
            outcomes, _ = reader.read(told, None)
            answers.add(outcomes)
            assert sum(answers.counts) == ROWS
        for row in range(ROWS):
            outcome = answers.get(row)
            assert (outcome is None) is (answers.status(row) is Status.PENDING)
            assert outcome is None or outcome.row == row


@given(st.integers(0, 10**9), st.integers(1, 10**4))
def test_ids_are_read_as_they_are_written(first, rows):
    assert rows_in(custom_id_of(first, rows)) == range(first, first + rows)


@given(st.binary(max_size=200), st.lists(st.integers(1, 20)))
def test_lines_are_the_same_however_bytes_are_cut(data, sizes):
    pieces, rest = [], data
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]
    found = list(lines_in(iter([*pieces, rest])))
    assert b"".join(found) == data
    assert all(part.endswith(b"\n") for part in found[:-1])
    assert all(part.count(b"\n") <= 1 for part in found)

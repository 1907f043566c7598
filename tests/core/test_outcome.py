"""What an HTTP answer means for its line, and what a failure means for line and upstream."""

from __future__ import annotations

import pytest

from bulkrate.core.outcome import Answer, Answered, Failed, Failure, Refused, judge
from bulkrate.providers.usage import Usage, read_usage


def judged(status: int, body: bytes = b"{}", retry_after_s: float | None = None):
    return judge(Answer(status, body, retry_after_s=retry_after_s), read_usage)


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (401, Failure.KEY_REFUSED),
        (402, Failure.KEY_REFUSED),
        (408, Failure.ERROR),
        (409, Failure.ERROR),
        (425, Failure.ERROR),
        (429, Failure.BUSY),
        (499, Failure.ERROR),
        (500, Failure.ERROR),
        (502, Failure.ERROR),
        (503, Failure.BUSY),
        (504, Failure.ERROR),
        (529, Failure.ERROR),
        (599, Failure.ERROR),
    ],
)
def test_these_answers_are_for_now(status, failure):
    outcome = judged(status, b"whatever", retry_after_s=3.0)
    assert isinstance(outcome, Failed)
    assert outcome.failure is failure
    assert outcome.answer.body == b"whatever"
    assert str(status) in outcome.detail
    assert outcome.retry_after_s == (None if failure is Failure.KEY_REFUSED else 3.0)


# 3xx: we do not follow, and what is answered there is no completion.
@pytest.mark.parametrize("status", [300, 301, 307, 400, 403, 404, 405, 410, 413, 415, 418, 422])
def test_these_answers_are_for_good(status):
    assert isinstance(judged(status, b"not even json"), Refused)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_a_success_brings_its_usage(status):
    outcome = judged(status, b'{"usage":{"total_tokens":7}}')
    assert isinstance(outcome, Answered)
    assert outcome.usage == Usage(total_tokens=7)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"choices":[', b'{"a":"\xff"}', b'data: {"x":1}', b"[" * 9_999]
)
def test_a_success_that_is_not_whole_json_is_tried_again(body):
    outcome = judged(200, body)
    assert isinstance(outcome, Failed)
    assert outcome.failure is Failure.GARBLED


def test_a_stream_where_an_answer_should_be_says_what_to_write():
    """`transformers serve` streams /v1/responses unless it is told not to."""
    outcome = judged(200, b'data: {"type":"response.created"}\n\n')
    assert isinstance(outcome, Failed)
    assert '"stream": false' in outcome.detail


@pytest.mark.parametrize(
    ("failure", "costs_attempt", "upstream_is_out"),
    [
        (Failure.UNREACHABLE, False, True),
        (Failure.KEY_REFUSED, False, True),
        (Failure.BUSY, False, False),
        (Failure.ERROR, True, False),
        (Failure.TIMED_OUT, True, False),
        (Failure.LOST, True, False),
        (Failure.GARBLED, True, False),
    ],
)
def test_a_failure_blames_the_line_or_the_upstream_never_both(failure, costs_attempt, upstream_is_out):
    assert (failure.costs_attempt, failure.upstream_is_out) == (costs_attempt, upstream_is_out)


def test_each_failure_has_a_code_of_its_own():
    assert len({failure.code for failure in Failure}) == len(Failure)
    assert Failure.TIMED_OUT.code == "request_timeout"  # OpenAI's own


def test_an_account_without_quota_is_out_and_not_busy():
    body = b'{"error":{"message":"You exceeded your current quota","code":"insufficient_quota"}}'
    assert judged(429, body).failure is Failure.KEY_REFUSED

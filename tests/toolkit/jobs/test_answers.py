"""What rows came to: nothing that counted is lost, nothing that did not count comes back."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.errors import StoreError
from bulkrate.toolkit.jobs.answers import Answers, Outcome, Status

ROWS = 12
OUTCOMES = st.builds(
    Outcome,
    row=st.integers(0, ROWS - 1),
    status=st.sampled_from([Status.FAILED, Status.INVALID, Status.ANSWERED, Status.SKIPPED]).map(int),
    cells=st.none() | st.binary(max_size=40),
    message=st.none() | st.text(max_size=20),
    attempts=st.integers(0, 300),
)


def best(outcomes):
    """By the rule alone: the better counts, and of two as good the later."""
    kept = {}
    for outcome in outcomes:
        before = kept.get(outcome.row)
        if before is None or outcome.status >= before.status:
            kept[outcome.row] = outcome
    return kept


def same(answers, kept):
    assert sum(answers.counts) == len(answers) == ROWS
    for row in range(ROWS):
        assert answers.get(row) == kept.get(row)
        assert answers.status(row) == (kept[row].status if row in kept else Status.PENDING)
    for status in Status:
        there = list(answers.of_status(status))
        assert len(there) == answers.counts[status]
        assert there == [row for row in range(ROWS) if answers.status(row) is status]


@given(st.lists(OUTCOMES, max_size=30), st.lists(OUTCOMES, max_size=30), st.integers(0, 10_000))
def test_what_was_committed_stands_and_the_rest_is_forgotten(tmp_path_factory, committed, lost, cut):
    path = tmp_path_factory.mktemp("job")
    with Answers(path, rows=ROWS, committed=0) as answers:
        answers.add(committed)
        end = answers.commit()
        answers.add(lost)
        same(answers, best([*committed, *lost]))  # reading writes out what is read
    log = path / "answers.log"
    # A crash may leave any part of what came later.
    os.truncate(log, max(end, min(log.stat().st_size, end + cut)))
    with Answers(path, rows=ROWS, committed=end, writable=False) as answers:
        same(answers, best(committed))
    with Answers(path, rows=ROWS, committed=end) as answers:
        same(answers, best(committed))
        answers.add(lost)
        end = answers.commit()
    with Answers(path, rows=ROWS, committed=end, writable=False) as answers:
        same(answers, best([*committed, *lost]))
        for row in range(ROWS):
            told = [min(each.attempts, 255) for each in [*committed, *lost] if each.row == row]
            assert answers.attempts(row) == min(sum(told), 255)


def test_large_answers_are_found_wherever_they_lie(tmp_path):
    sizes = [0, 1, (1 << 20) - 3, 3 << 20, 5, 1 << 20, 2]
    with Answers(tmp_path, rows=len(sizes), committed=0) as answers:
        answers.add(Outcome(row=n, status=3, cells=bytes(size)) for n, size in enumerate(sizes))
        end = answers.commit()
    with Answers(tmp_path, rows=len(sizes), committed=end, writable=False) as answers:
        assert [len(answers.get(n).cells) for n in range(len(sizes))] == sizes


def test_a_reader_beside_the_writer_sees_what_counts(tmp_path):
    with Answers(tmp_path, rows=3, committed=0) as writer:
        writer.add([Outcome(row=0, status=3)])
        end = writer.commit()
        writer.add([Outcome(row=1, status=3)])
        with Answers(tmp_path, rows=3, committed=end, writable=False) as reader:
            assert list(reader.of_status(Status.ANSWERED)) == [0]
        writer.commit()


def test_a_log_that_was_cut_says_so(tmp_path):
    with Answers(tmp_path, rows=3, committed=0) as answers:
        answers.add([Outcome(row=0, status=3, cells=bytes(100))])
        end = answers.commit()
    os.truncate(tmp_path / "answers.log", end - 1)
    for writable in (False, True):
        with pytest.raises(StoreError, match="cut or replaced"):
            Answers(tmp_path, rows=3, committed=end, writable=writable)


def test_a_log_of_other_rows_says_so(tmp_path):
    with Answers(tmp_path, rows=9, committed=0) as answers:
        answers.add([Outcome(row=8, status=3)])
        end = answers.commit()
    with pytest.raises(StoreError, match="damaged"):
        Answers(tmp_path, rows=3, committed=end, writable=False)


def test_a_damaged_log_says_so(tmp_path):
    with Answers(tmp_path, rows=1, committed=0) as answers:
        answers.add([Outcome(row=0, status=3, cells=bytes(8))])
        end = answers.commit()
    (tmp_path / "answers.log").write_bytes(b"\xc1" * end)
    with pytest.raises(StoreError, match="damaged"):
        Answers(tmp_path, rows=1, committed=end, writable=False)


def test_wherever_an_answer_is_damaged_it_is_read_or_told(tmp_path):
    """A text that was no UTF-8 any more ended the command as a fault of ours."""
    with Answers(tmp_path, rows=1, committed=0) as answers:
        answers.add([Outcome(row=0, status=Status.INVALID, text="what the model said")])
        end = answers.commit()
    log = tmp_path / "answers.log"
    whole, told = log.read_bytes(), 0
    for at in range(10, end):  # behind its head
        log.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        with Answers(tmp_path, rows=1, committed=end, writable=False) as answers:
            try:
                assert list(answers.between(0, end)) == [answers.get(0)]
            except StoreError as fault:
                told += "damaged" in str(fault)
    assert told > len("what the model said")

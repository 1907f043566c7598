"""Which rows are sent next, as tables."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.errors import RecipeError
from bulkrate.toolkit.jobs.answers import Answers, Outcome, Status
from bulkrate.toolkit.jobs.record import JobRecord, Purpose, Round
from bulkrate.toolkit.jobs.rounds import model_of, next_round
from bulkrate.toolkit.jobs.spec import JobSpec, ModelAsk, Rule
from bulkrate.toolkit.questions.asking import Asking

FIRST, RETRY, REASK, ESCALATE = Purpose
GOOD = {"status": 3}
SURE = {"status": 3, "confidence": 0.9}
UNSURE = {"status": 3, "confidence": 0.4}
PASSING = {"status": 1, "code": "server_error", "retryable": True}
HARD = {"status": 1, "code": "http_400"}
SHARED = {"status": 1, "code": "http_400", "alone": True}
ODD = {"status": 2, "code": "invalid_output"}
REFUSED = {"status": 2, "code": "refused"}


def record_of(*had: Purpose, **more) -> JobRecord:
    spec = {"asking": Asking(), "model": ModelAsk(model="small")} | {
        name: more.pop(name) for name in ("retries", "reask", "model") if name in more
    }
    rounds = [Round(purpose=purpose, parts=[], done=True) for purpose in had]
    return JobRecord(id="j", spec=JobSpec(**spec), fingerprint="f", created_at=0, rounds=rounds, **more)


@contextmanager
def answers_of(path, *outcomes):
    """One row each; None is not answered yet."""
    with Answers(path, rows=len(outcomes), committed=0) as answers:
        answers.add(Outcome(row=row, **told) for row, told in enumerate(outcomes) if told)
        yield answers


def decided(path, record, *outcomes):
    with answers_of(path, *outcomes) as answers:
        found = next_round(record, answers)
        return None if found is None else (found.purpose, list(found.rows), found.model)


@pytest.mark.parametrize(
    ("had", "outcomes", "expected"),
    [
        ([], [None, None], (FIRST, [0, 1], None)),
        ([], [{"status": 4}, None, GOOD], (FIRST, [1], None)),
        ([], [{"status": 4}, GOOD], None),
        ([FIRST], [GOOD, GOOD], None),
        ([FIRST], [GOOD, PASSING, HARD], (RETRY, [1], None)),
        ([FIRST, RETRY], [GOOD, PASSING], None),
        # A refused request of several rows: each of them goes alone, whatever was tried before.
        ([FIRST], [SHARED, SHARED, HARD], (RETRY, [0, 1], None)),
        ([FIRST, RETRY], [SHARED, PASSING], (RETRY, [0], None)),
        # What failed for a passing reason goes before what was not as asked.
        ([FIRST], [ODD, PASSING], (RETRY, [1], None)),
        ([FIRST, RETRY], [ODD, PASSING], (REASK, [0], None)),
        ([FIRST], [REFUSED, GOOD], None),
        ([FIRST, REASK], [ODD, GOOD], None),
    ],
)
def test_what_is_sent_next(tmp_path, had, outcomes, expected):
    assert decided(tmp_path, record_of(*had), *outcomes) == expected


@pytest.mark.parametrize(
    ("had", "outcomes", "expected"),
    [
        ([FIRST], [SURE, UNSURE, GOOD], (ESCALATE, [1], "large")),
        ([FIRST], [HARD, REFUSED, SURE], (ESCALATE, [0, 1], "large")),
        ([FIRST, RETRY, REASK], [PASSING, ODD], (ESCALATE, [0, 1], "large")),
        ([FIRST, ESCALATE], [SURE, UNSURE], (ESCALATE, [1], "largest")),
        ([FIRST, ESCALATE, ESCALATE], [SURE, UNSURE], None),
    ],
)
def test_what_goes_on_to_a_better_model(tmp_path, had, outcomes, expected):
    model = ModelAsk(model="small", escalate=("large", "largest"), confidence_min=0.8)
    assert decided(tmp_path, record_of(*had, model=model), *outcomes) == expected


def test_retries_and_reasks_may_be_none(tmp_path):
    assert decided(tmp_path, record_of(FIRST, retries=0, reask=0), PASSING, ODD) is None


def test_a_retry_goes_to_whom_the_round_before_went(tmp_path):
    record = record_of(FIRST, ESCALATE)
    record.rounds[-1].model = "large"
    assert decided(tmp_path, record, PASSING, GOOD) == (RETRY, [0], "large")


def test_a_renewed_job_sends_all_that_has_no_answer_and_tries_as_often_as_a_new_one(tmp_path):
    outcomes = [GOOD, HARD, ODD, None, {"status": 4}]
    record = record_of(FIRST, RETRY, REASK, renewed=True, renewed_at=3)
    assert decided(tmp_path, record, *outcomes) == (RETRY, [1, 2, 3], None)
    record.renewed = False
    record.rounds.append(Round(purpose=RETRY, parts=[], done=True))
    assert decided(tmp_path, record, GOOD, HARD, ODD) == (REASK, [2], None)


@given(
    st.lists(st.sampled_from([GOOD, PASSING, HARD, SHARED, ODD, REFUSED, UNSURE]), min_size=1, max_size=8),
    st.integers(0, 3),
    st.integers(0, 3),
    st.data(),
)
def test_every_job_ends(tmp_path_factory, outcomes, retries, reask, data):
    """Whatever comes back, rounds end, and each sends something."""
    model = ModelAsk(model="a", escalate=("b", "c"), confidence_min=0.5)
    record = record_of(retries=retries, reask=reask, model=model)
    with Answers(tmp_path_factory.mktemp("job"), rows=len(outcomes), committed=0) as answers:
        for _ in range(40):
            chosen = next_round(record, answers)
            if chosen is None:
                break
            assert chosen.rows
            assert sum(answers.counts) == len(answers)
            record.rounds.append(Round(purpose=chosen.purpose, parts=[], model=chosen.model, done=True))
            for row in chosen.rows:
                was_alone = (before := answers.get(row)) is not None and before.alone
                told = data.draw(st.sampled_from([GOOD, PASSING, HARD, SHARED, ODD, UNSURE]))
                answers.add([Outcome(row=row, **(HARD if was_alone and told is SHARED else told))])
        else:
            raise AssertionError("it goes on for ever")
        assert answers.counts[Status.PENDING] == 0


RULES = ModelAsk(model="any", column="wants", rules=(Rule(column="n", value="7", model="seven"),))


@pytest.mark.parametrize(
    ("row", "model"),
    [
        ({"n": 7, "wants": "own"}, "seven"),
        ({"n": "7", "wants": None}, "seven"),
        ({"n": 8, "wants": "own"}, "own"),
        ({"n": 8, "wants": ""}, "any"),
        ({"n": 8, "wants": None}, "any"),
        ({"n": 8}, "any"),
    ],
)
def test_the_first_rule_that_fits_then_the_column_then_the_model(row, model):
    assert model_of(RULES, row) == model


def test_a_row_without_a_model_is_told():
    with pytest.raises(RecipeError, match="names no model"):
        model_of(ModelAsk(column="wants"), {"wants": None})

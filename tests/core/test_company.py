"""Who failed with everybody else, and who for itself."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bulkrate.core.company import Company


def test_what_was_under_way_when_an_engine_died_failed_together():
    company = Company()
    for at in (10.0, 10.1, 10.2):
        company.failed(object(), 9.0, now=at)
    assert company.together([(9.0, 10.0)])
    assert company.together([(9.0, 10.0), (9.0, 10.2)])
    assert not company.together([(9.0, 10.0), (3.0, 4.0)])  # nothing is known of the other time


def test_a_line_that_fails_while_others_are_answered_failed_for_itself():
    company = Company()
    company.failed(object(), 9.0, now=10.0)
    company.failed(object(), 9.0, now=10.1)
    for _ in range(3):
        company.answered(9.5)
    assert not company.together([(9.0, 10.1)])


def test_what_is_answered_much_later_was_not_killed_either():
    company = Company()
    company.failed(object(), 9.0, now=10.0)
    company.failed(object(), 9.5, now=10.1)
    company.answered(11.0)
    assert company.together([(9.0, 10.0)])
    for _ in range(3):
        company.answered(9.9)
    assert not company.together([(9.0, 10.0)])


def test_an_answer_that_was_on_its_way_when_the_engine_died_changes_nothing():
    company = Company()
    for _ in range(2):
        company.failed(object(), 9.0, now=10.0)
        company.answered(9.0)
    assert company.together([(9.0, 10.0)])
    company.answered(9.0)
    assert not company.together([(9.0, 10.0)])


def test_what_fails_while_the_engine_is_away_fails_with_those_it_died_with():
    company = Company()
    company.failed(object(), 9.0, now=10.0)
    company.failed(object(), 10.5, now=10.6)
    company.failed(object(), 13.0, now=13.1)
    assert company.together([(9.0, 10.0), (10.5, 10.6), (13.0, 13.1)])


def test_what_is_sent_to_a_dead_engine_fails_with_everybody_whoever_had_his_answer_before():
    company = Company()
    company.failed(object(), 9.0, now=10.0)
    company.answered(9.5)
    company.answered(9.5)
    company.failed(object(), 10.5, now=10.6)
    assert not company.together([(9.0, 10.0)])
    assert company.together([(10.5, 10.6)])


def test_the_first_to_fall_again_has_the_benefit_of_its_other_falls():
    company, line = Company(), object()
    company.failed(object(), 9.0, now=10.0)
    company.failed(line, 9.0, now=10.1)
    company.answered(11.0)
    company.failed(line, 12.0, now=13.0)
    assert company.together([(9.0, 10.1), (12.0, 13.0)])
    assert not company.together([(12.0, 13.0)])
    company.answered(13.5)
    assert not company.together([(9.0, 10.1), (12.0, 13.0)])


def test_once_somebody_is_answered_who_was_sent_later_the_engine_is_back():
    company = Company()
    company.failed(object(), 9.0, now=10.0)
    company.failed(object(), 10.5, now=10.6)
    company.answered(11.0)
    company.failed(object(), 11.5, now=12.0)
    assert company.together([(10.5, 10.6)])
    assert not company.together([(11.5, 12.0)])


def test_bad_lines_at_the_end_of_a_batch_did_not_fail_with_everybody():
    # When only bad lines are left, none of them is answered. Those that failed first did so among good ones.
    company = Company()
    company.failed(object(), 9.0, now=10.0)
    for _ in range(3):
        company.answered(9.0)
    for at in range(11, 40):
        company.failed(object(), at - 1.0, now=float(at))
    assert not company.together([(9.0, 10.0), (19.0, 20.0)])


def test_a_line_that_is_alone_did_not_fail_with_others_however_often_it_fails():
    company, line = Company(), object()
    for at in (10.0, 11.0, 12.0):
        company.failed(line, at - 1, now=at)
    assert not company.together([(9.0, 10.0), (10.0, 11.0), (11.0, 12.0)])


@given(st.lists(st.floats(0, 100), max_size=30), st.floats(0, 100), st.floats(0, 100))
def test_one_that_fails_alone_never_failed_with_everybody(answers, sent_at, lasts_s):
    company = Company()
    company.failed(object(), sent_at, now=sent_at + lasts_s)
    for at in answers:
        company.answered(at)
    assert not company.together([(sent_at, sent_at + lasts_s)])


@given(st.lists(st.booleans(), min_size=2, max_size=60))
def test_where_most_survive_nobody_failed_with_everybody(survives):
    company = Company()
    for number, survived in enumerate(survives):
        if survived:
            company.answered(0.0)
        else:
            company.failed(object(), 0.0, now=1.0 + number)
    first = survives.index(False) if False in survives else len(survives)
    later = survives[first:]
    everybody = later.count(False) > 1 and later.count(True) <= later.count(False)
    assert company.together([(0.0, 1.0 + first)]) == everybody

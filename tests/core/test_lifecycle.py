"""The life of a batch: eight statuses, and no way but those in the table."""

from __future__ import annotations

from itertools import product

import pytest

from bulkrate.core.lifecycle import TRANSITIONS, Event, Status, after, before
from bulkrate.errors import IllegalTransition
from bulkrate.wire.batches import Batch

ALLOWED = [
    ("validating", "admitted", "in_progress"),
    ("validating", "rejected", "failed"),
    ("validating", "cancel asked", "cancelling"),
    ("in_progress", "every line is done", "finalizing"),
    ("in_progress", "the deadline passed", "finalizing"),
    ("in_progress", "cancel asked", "cancelling"),
    ("finalizing", "every line is accounted for", "completed"),
    ("finalizing", "every line is accounted for, some never ran", "expired"),
    ("finalizing", "cancel asked", "cancelling"),  # as at OpenAI: it lands in `cancelled`
    ("cancelling", "every line is accounted for", "cancelled"),
    ("cancelling", "every line is accounted for, some never ran", "cancelled"),
]
TERMINAL = ("failed", "completed", "expired", "cancelled")


def test_there_are_exactly_the_eight_statuses_of_openai():
    assert {str(status) for status in Status} == {
        *("validating", "failed", "in_progress", "finalizing"),
        *("completed", "expired", "cancelling", "cancelled"),
    }


@pytest.mark.parametrize(("status", "event"), list(product(Status, Event)), ids=str)
def test_an_event_leads_where_the_table_says_or_is_refused(status, event):
    allowed = {(start, by): end for start, by, end in ALLOWED}
    if (str(status), str(event)) in allowed:
        assert after(status, event) == allowed[str(status), str(event)]
        assert status in before(event)
    else:
        with pytest.raises(IllegalTransition, match=f"{status}.*{event}"):
            after(status, event)
        assert status not in before(event)


@pytest.mark.parametrize("status", TERMINAL)
@pytest.mark.parametrize("event", Event)
def test_a_finished_batch_takes_no_event(status, event):
    with pytest.raises(IllegalTransition):
        after(Status(status), event)


@pytest.mark.parametrize("status", Status)
def test_a_status_is_terminal_if_it_is_an_end_at_openai(status):
    assert status.terminal == (status in TERMINAL)


def test_every_status_is_reached_from_the_first():
    reached = {Status.VALIDATING}
    while more := {end for (start, _), end in TRANSITIONS.items() if start in reached} - reached:
        reached |= more
    assert reached == set(Status)


def test_from_every_status_an_end_can_be_reached():
    ends = {status for status in Status if status.terminal}
    while more := {start for (start, _), end in TRANSITIONS.items() if end in ends} - ends:
        ends |= more
    assert ends == set(Status)


@pytest.mark.parametrize("status", Status)
def test_the_batch_object_has_a_field_for_the_moment_of_each_status(status):
    assert status.reached_at in Batch.__struct_fields__


def test_lines_are_sent_in_one_status_and_accounted_for_in_two():
    assert [str(status) for status in Status if status.sending] == ["in_progress"]
    assert {str(status) for status in Status if status.closing} == {"finalizing", "cancelling"}

"""A job whose upstreams take nothing: what nobody mends without being told ends it, an outage does not."""

from __future__ import annotations

import pytest

from bulkrate.errors import BulkrateError, ServerUnreachable, Unauthorized
from bulkrate.toolkit.jobs.patience import Moving, Patience
from bulkrate.toolkit.jobs.record import JobRecord, Tokens

GONE = Moving(paused="u: no connection", stands=True, key_refused=False)
REFUSED = Moving(paused="u: not our key", stands=True, key_refused=True)
MOVES = Moving(in_flight=1, stands=False, key_refused=False)
SOME = {"m": {"batch": Tokens(requests=1)}}


def ended(
    looks: dict[float, Moving], tokens: dict[str, dict[str, Tokens]]
) -> tuple[float, BulkrateError] | None:
    """When its patience is over, if it ever is, and with what."""
    now = 0.0
    record = JobRecord(id="j", spec=None, fingerprint="", created_at=0.0, tokens=tokens)  # type: ignore[arg-type]
    patience = Patience(record, clock=lambda: now)
    for now, moving in looks.items():
        try:
            patience.look(moving)
        except BulkrateError as error:
            return now, error
    return None


@pytest.mark.parametrize("tokens", [{}, SOME])
def test_a_key_that_is_refused_ends_it_after_some_seconds(tokens):
    over = ended(dict.fromkeys(range(100), REFUSED), tokens)
    assert over is not None
    assert over[0] == 10
    assert isinstance(over[1], Unauthorized)
    assert str(over[1]).startswith(
        "u: not our key; nothing is lost. Mend it, and go on with: Job.from_id('j')"
    )


def test_an_address_at_which_nobody_ever_answered_ends_it_after_a_minute():
    over = ended(dict.fromkeys(range(100), GONE), {})
    assert over is not None
    assert over[0] == 60
    assert isinstance(over[1], ServerUnreachable)


def test_an_outage_in_the_middle_is_waited_for():
    assert ended(dict.fromkeys(range(100000), GONE), SOME) is None


def test_what_moves_now_and_then_is_given_its_time():
    assert ended({at: MOVES if at % 50 == 0 else GONE for at in range(1_000)}, {}) is None
    assert ended({at: MOVES if at % 9 == 0 else REFUSED for at in range(1_000)}, {}) is None

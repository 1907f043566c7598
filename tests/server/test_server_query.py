"""Query parameters."""

import pytest

from bulkrate.errors import InvalidRequest
from bulkrate.server.operations import Query
from bulkrate.server.query import read_query

LIMIT = Query(name="limit", kind="integer", default=20, minimum=1, maximum=100, about="")
ORDER = Query(name="order", choices=("asc", "desc"), default="desc", about="")
LINE = Query(name="custom_id", required=True, about="")


@pytest.mark.parametrize(
    ("given", "limit"), [({}, 20), ({"limit": ""}, 20), ({"limit": "1"}, 1), ({"limit": "100"}, 100)]
)
def test_a_limit_is_read(given, limit):
    assert read_query([LIMIT], given) == {"limit": limit}


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("0", "integer_below_min_value"),
        ("-5", "integer_below_min_value"),
        ("101", "integer_above_max_value"),
        ("9" * 19, "integer_above_max_value"),
        ("ten", "invalid_type"),
        ("1.5", "invalid_type"),
        (" 5", "invalid_type"),
        ("1_0", "invalid_type"),
        ("٣", "invalid_type"),
        ("9" * 5000, "invalid_type"),
    ],
)
def test_a_wrong_limit_is_refused(given, code):
    with pytest.raises(InvalidRequest) as refused:
        read_query([LIMIT], {"limit": given})
    assert (refused.value.code, refused.value.param) == (code, "limit")


def test_a_choice_lists_what_is_supported():
    assert read_query([ORDER], {"order": "asc"}) == {"order": "asc"}
    with pytest.raises(InvalidRequest, match="'asc', 'desc'") as refused:
        read_query([ORDER], {"order": "up"})
    assert refused.value.code == "invalid_value"


def test_a_required_parameter_is_missed():
    with pytest.raises(InvalidRequest) as refused:
        read_query([LINE], {})
    assert refused.value.code == "missing_required_parameter"


def test_unknown_parameters_are_ignored():
    assert read_query([], {"api-version": "2024-10-21"}) == {}

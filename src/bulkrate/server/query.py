"""Query parameters, checked against what the operation declares.

Parameters that no operation knows are ignored, because Azure's clients add `api-version` to everything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from bulkrate.errors import InvalidRequest
from bulkrate.server.operations import Query

# Nineteen digits hold every 64-bit number, and keep int() cheap.
_INTEGER = re.compile(r"-?[0-9]{1,19}")


def read_query(declared: Iterable[Query], given: Mapping[str, str]) -> dict[str, Any]:
    """The value of every declared parameter, or its default. An empty value counts as not given."""
    return {query.name: _value(query, given.get(query.name) or None) for query in declared}


def _value(query: Query, given: str | None) -> int | str | None:
    if given is None:
        if query.required:
            raise InvalidRequest(
                f"Missing required parameter: '{query.name}'. Add ?{query.name}=... to the URL.",
                code="missing_required_parameter",
                param=query.name,
            )
        return query.default
    if query.kind == "integer":
        return _integer(query, given)
    if query.choices and given not in query.choices:
        supported = ", ".join(f"'{choice}'" for choice in query.choices)
        raise InvalidRequest(
            f"Invalid value for '{query.name}': '{given[:64]}'. Supported values are: {supported}.",
            code="invalid_value",
            param=query.name,
        )
    return given


def _integer(query: Query, given: str) -> int:
    if not _INTEGER.fullmatch(given):
        raise InvalidRequest(
            f"Invalid type for '{query.name}': expected an integer, but got '{given[:64]}' instead.",
            code="invalid_type",
            param=query.name,
        )
    value = int(given)
    if query.minimum is not None and value < query.minimum:
        raise InvalidRequest(
            f"Invalid '{query.name}': integer below minimum value. "
            f"Expected a value >= {query.minimum}, but got {value} instead.",
            code="integer_below_min_value",
            param=query.name,
        )
    if query.maximum is not None and value > query.maximum:
        raise InvalidRequest(
            f"Invalid '{query.name}': integer above maximum value. "
            f"Expected a value <= {query.maximum}, but got {value} instead.",
            code="integer_above_max_value",
            param=query.name,
        )
    return value

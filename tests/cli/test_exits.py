"""Exit codes: each error of ours has one, and the documented meaning."""

from __future__ import annotations

import pytest

from bulkrate import errors
from bulkrate.cli import exits


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.SourceError("x"), 2),
        (errors.RecipeError("x"), 2),
        (errors.ConfigError("x"), 3),
        (errors.FolderInUse("x"), 3),
        (errors.InvalidRequest("x"), 4),
        (errors.NotFound("x"), 4),
        (errors.Unavailable("x"), 5),
        (errors.ServerUnreachable("x"), 5),
        (errors.TimedOut("x"), 7),
        (errors.SinkError("x"), 8),
        (errors.JobError("x"), 8),
        (errors.StoreError("x"), 8),
        (errors.NoSpace("x"), 8),
        (errors.OverBudget("x"), 9),
        (errors.BulkrateError("x"), 1),
    ],
)
def test_each_error_has_its_code(error, code):
    assert exits.code_of(error) == code


def test_codes_are_distinct():
    codes = [value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)]
    assert len(codes) == len(set(codes)) == 12

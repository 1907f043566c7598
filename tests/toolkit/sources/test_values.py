"""Python values as rows: lists and generators of objects or texts, with what numpy and pandas put in them."""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from bulkrate.errors import SourceError
from bulkrate.toolkit.rows.snapshot import encoded
from bulkrate.toolkit.sources import open_source
from tests.toolkit.cellular import ROWS


@given(rows=st.lists(ROWS, max_size=5))
def test_rows_of_cells_are_given_as_they_are(rows):
    source = open_source(rows)
    assert source.length == len(rows)
    assert list(source.rows()) == rows == list(source.rows())
    names = {name for row in rows for name in row}
    assert {column.name for column in source.columns} == names


def test_texts_become_the_column_text():
    source = open_source(["a", "b"])
    assert list(source.rows()) == [{"text": "a"}, {"text": "b"}]
    assert [column.name for column in source.columns] == ["text"]


def test_a_generator_is_gone_through_once_and_no_further_than_asked():
    taken = []

    def rows():
        for n in range(10):
            taken.append(n)
            yield {"n": n}

    source = open_source(rows(), limit=2)
    assert (source.name, source.columns, source.length) == ("generator", None, None)
    assert not taken
    assert list(source.rows()) == [{"n": 0}, {"n": 1}]
    assert taken == [0, 1]
    with pytest.raises(SourceError, match="can be had only once"):
        list(source.rows())


class _Colour(Enum):
    RED = "red"


class _Model(BaseModel):
    a: int
    tags: tuple[str, ...]


class _Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (np.int64(7), 7),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.array([[1, 2]]), [[1, 2]]),
        (np.datetime64("2026-01-01T00:00:00", "us"), datetime(2026, 1, 1)),  # noqa: DTZ001
        (pd.NaT, None),
        (pd.NA, None),
        (pd.Timestamp("2026-01-01", tz="UTC"), datetime(2026, 1, 1, tzinfo=UTC)),
        (pd.Timedelta(seconds=1), timedelta(seconds=1)),
        (_Colour.RED, "red"),
        (_Text("a"), "a"),
        (bytearray(b"a"), b"a"),
        ((1, (2, 3)), [1, [2, 3]]),
        ({3, 1, 2}, [1, 2, 3]),
        (OrderedDict(a=np.int8(1)), {"a": 1}),
        ({1: "a", None: "b"}, None),
        ({1: "a", Decimal(2): "b"}, None),
        (_Model(a=1, tags=("x",)), {"a": 1, "tags": ["x"]}),
        ("half \ud800", "half \ufffd"),
    ],
)
def test_values_of_other_libraries_become_cells(value, cell):
    source = open_source([{"c": value}])
    if cell is None and isinstance(value, dict):
        with pytest.raises(SourceError, match="list, row 1, column 'c': an object with a key of type"):
            list(source.rows())
        return
    found = next(source.rows())["c"]
    assert found == cell
    assert type(found) is type(cell)
    encoded({"c": found}, 1)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"a": 1}, 7], "list, row 2 is a int; a row is an object or a text"),
        ([{"a": object()}], "list, row 1, column 'a': a value of type object, which no cell can hold"),
        ([{1: "a"}], "list, row 1 has a column named by a int"),
    ],
)
def test_what_is_no_row_is_named(rows, says):
    with pytest.raises(SourceError, match=says):
        list(open_source(rows).rows())


def test_an_endless_value_is_refused():
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(SourceError, match="row 1, column 'a'"):
        list(open_source([{"a": loop}]).rows())

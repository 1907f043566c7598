"""Rows as frames of Arrow, pandas and Polars."""

from __future__ import annotations

import struct
import sys
from datetime import date

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from bulkrate.errors import SinkError
from bulkrate.toolkit.frames import to_arrow, to_pandas, to_polars
from bulkrate.toolkit.rows.table import Column, Table, Vector
from bulkrate.toolkit.sources import open_source

_TABLE = Table(
    columns=(
        Column(name="id"),
        Column(name="label", kind="text"),
        Column(name="score", kind="number"),
        Column(name="found", kind="json"),
        Column(name="v", kind="vector"),
    )
)
_ROWS = [
    {
        "id": n,
        "label": None if n == 1 else "good",
        "score": 0.5,
        "found": {"tags": ["a"] * n},
        "v": Vector(dtype="float32", data=struct.pack("<2f", n, 0.5)),
    }
    for n in range(3)
]


def test_rows_become_an_arrow_table():
    made = to_arrow(iter(_ROWS), _TABLE)
    assert made.column_names == ["id", "label", "score", "found", "v"]
    assert made.schema.field("v").type == pa.list_(pa.float32(), 2)
    assert made.to_pylist()[1] == {
        "id": 1,
        "label": None,
        "score": 0.5,
        "found": {"tags": ["a"]},
        "v": [1.0, 0.5],
    }


def test_rows_become_a_pandas_frame():
    frame = to_pandas(_ROWS, _TABLE)
    assert isinstance(frame, pd.DataFrame)
    assert list(frame["id"]) == [0, 1, 2]
    assert frame["label"].isna().tolist() == [False, True, False]
    assert frame["v"][2].tolist() == [2.0, 0.5]


def test_whole_numbers_of_which_some_are_missing_stay_what_they_are_in_pandas():
    """An id beyond 2**53 came back as another, once a row had none."""
    ids = [2**63 - 1, None, 2**53 + 1]
    frame = to_pandas([{"id": each} for each in ids], Table(columns=(Column(name="id"),)))
    assert [None if each is pd.NA else int(each) for each in frame["id"]] == ids
    given = pd.DataFrame({"n": pd.array([7, None], dtype="UInt8"), "whole": [1, 2], "part": [0.5, None]})
    source = open_source(given)
    back = to_pandas(source.rows(), Table(columns=source.columns, arrow=source.arrow))
    pd.testing.assert_frame_equal(back, given)


def test_rows_become_a_polars_frame():
    frame = to_polars(_ROWS, _TABLE)
    assert isinstance(frame, pl.DataFrame)
    assert frame.schema["v"] == pl.Array(pl.Float32, 2)
    assert frame["found"].to_list() == [{"tags": []}, {"tags": ["a"]}, {"tags": ["a", "a"]}]


def test_a_frame_comes_back_with_its_types_and_the_answers():
    given = pl.DataFrame({"n": [1, 2], "d": [date(2026, 1, 1), None], "c": ["x", None]}).with_columns(
        pl.col("n").cast(pl.Int8), pl.col("c").cast(pl.Categorical)
    )
    source = open_source(given)
    table = Table(columns=(*source.columns, Column(name="answer", kind="text")), arrow=source.arrow)
    back = to_polars([{**row, "answer": "yes"} for row in source.rows()], table)
    assert back["answer"].to_list() == ["yes", "yes"]
    assert back.drop("answer").schema["n"] == pl.Int8
    assert back.drop("answer").to_dicts() == given.to_dicts()


def test_no_rows_become_an_empty_frame_of_the_columns():
    assert to_pandas([], _TABLE).columns.tolist() == ["id", "label", "score", "found", "v"]
    assert to_polars([], _TABLE).height == 0


def test_objects_that_share_no_type_are_json_texts():
    table = Table(columns=(Column(name="j", kind="json"),))
    made = to_arrow([{"j": {"a": 1}}, {"j": [1]}], table)
    assert made.column("j").to_pylist() == ['{"a":1}', "[1]"]


def test_a_missing_library_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        SinkError, match=r'making an Arrow table needs "tables": pip install "bulkrate\[tables\]"'
    ):
        to_arrow([], _TABLE)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(SinkError, match="making a frame of pandas needs it: pip install pandas"):
        to_pandas([], _TABLE)

"""Cells and Arrow: which type a column has, and its cells from and to Arrow arrays.

Every value survives the way to cells and back. Times finer than a microsecond, which Python has none of, are
cells of text (ISO 8601 with nine digits); maps are lists of pairs. Imported only where Arrow is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, time, timedelta
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]

from bulkrate.errors import SourceError
from bulkrate.toolkit.rows.plain import NUMBER_BYTES, json_of, text_of
from bulkrate.toolkit.rows.table import Column, Kind, Row, Vector, VectorType

_NUMBERS: dict[VectorType, Any] = {"float32": pa.float32(), "float16": pa.float16(), "int8": pa.int8()}


def schema_bytes(schema: Any) -> bytes:
    """A schema in IPC form, as `Table.arrow` has it."""
    told: bytes = schema.serialize().to_pybytes()
    return told


def schema_of(told: bytes | None) -> Any:
    """The schema that `schema_bytes` told of; one without fields for None."""
    return pa.ipc.read_schema(pa.py_buffer(told)) if told else pa.schema([])


def columns_of(schema: Any, name: str) -> tuple[Column, ...]:
    """The columns of a table `name`. Raises `SourceError` for two of one name, or a type that no cell has."""
    for field in schema:
        if len(schema.get_all_field_indices(field.name)) > 1:
            raise SourceError(f"{name}: two columns are named {field.name!r}; give each a name of its own")
        if _found(field.type, _strange):
            raise SourceError(
                f"{name}: column {field.name!r} has the type {field.type}, which no cell can hold"
            )
    return tuple(Column(name=field.name, kind=_kind(field.type)) for field in schema)


def unified(told: Mapping[str, bytes | None]) -> bytes:
    """The schema that takes the cells of all tables by name. Raises `SourceError` if there is none."""
    try:
        return schema_bytes(pa.unify_schemas(map(schema_of, told.values()), promote_options="permissive"))
    except pa.ArrowException as fault:
        raise SourceError(f"the types of {' and '.join(told)} do not agree: {fault}") from fault


def rows_of(batch: Any, name: str, first: int = 0) -> list[Row]:
    """The rows of a record batch whose first row is number `first` of `name`. Raises `SourceError`."""
    columns = []
    for field, array in zip(batch.schema, batch.columns, strict=True):
        try:
            columns.append(cells_of(array))
        except (pa.ArrowException, ValueError, OverflowError, UnicodeDecodeError) as fault:
            where = f"{name}, rows {first + 1} to {first + batch.num_rows}, column {field.name!r}"
            raise SourceError(f"{where}: a {field.type} that Python has no value for: {fault}") from fault
    names = batch.schema.names
    if not columns:
        return [{} for _ in range(batch.num_rows)]
    return [dict(zip(names, cells, strict=True)) for cells in zip(*columns, strict=True)]


def cells_of(array: Any) -> list[Any]:
    """The cells of an array. Raises what pyarrow raises for values that Python has none for."""
    if _found(array.type, _nanosecond):
        array = _without_nanoseconds(array)
    cells: list[Any] = array.to_pylist()
    return [_unpaired(cell) for cell in cells] if _found(array.type, pa.types.is_map) else cells


def array_of(cells: Sequence[Any], kind: Any) -> Any:
    """Cells as an array of the type `kind`. Raises `pa.ArrowException`, `TypeError` or `ValueError`."""
    if kind.equals(pa.string()) or kind.equals(pa.large_string()):
        cells = [cell if cell is None or type(cell) is str else text_of(cell) for cell in cells]
    if pa.types.is_dictionary(kind):
        found = array_of(cells, kind.value_type).dictionary_encode()
        places = found.indices.cast(kind.index_type)
        return pa.DictionaryArray.from_arrays(places, found.dictionary, ordered=kind.ordered)
    if _found(kind, pa.types.is_map):
        cells = [_paired(cell, kind) for cell in cells]
    if _nanosecond(kind) and any(type(cell) is str for cell in cells):
        return _with_nanoseconds(cells, kind)
    return pa.array(cells, type=kind)


def json_array_of(cells: Sequence[Any]) -> Any:
    """Cells as JSON texts."""
    return pa.array([None if cell is None else json_of(cell).decode() for cell in cells], type=pa.string())


def vector_type(dtype: VectorType, dimensions: int) -> Any:
    """The type of a column of vectors."""
    return pa.list_(_NUMBERS[dtype], dimensions)


def vector_array_of(cells: Sequence[Vector | None], dtype: VectorType, dimensions: int) -> Any:
    """Vectors as an array, their bytes as they are."""
    empty = bytes(dimensions * NUMBER_BYTES[dtype])
    data = b"".join(empty if cell is None else cell.data for cell in cells)
    numbers = pa.Array.from_buffers(_NUMBERS[dtype], len(cells) * dimensions, [None, pa.py_buffer(data)])
    missing = pa.array([cell is None for cell in cells], type=pa.bool_())
    return pa.FixedSizeListArray.from_arrays(numbers, type=vector_type(dtype, dimensions), mask=missing)


def single_precision(schema: Any) -> Any:
    """The schema with float32 for float16, for those who do not know it."""
    return pa.schema([field.with_type(_single(field.type)) for field in schema])


def _single(kind: Any) -> Any:
    if pa.types.is_float16(kind):
        return pa.float32()
    return pa.list_(_single(kind.value_type), kind.list_size) if pa.types.is_fixed_size_list(kind) else kind


def _kind(kind: Any) -> Kind:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    types = pa.types
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return "text"
    if types.is_integer(kind):
        return "integer"
    if types.is_floating(kind):
        return "number"
    if types.is_boolean(kind):
        return "boolean"
    return "json" if types.is_nested(kind) else "any"


def _found(kind: Any, test: Any) -> bool:
    """Whether a type or one within it passes a test."""
    if test(kind):
        return True
    if isinstance(kind, pa.BaseExtensionType):
        return _found(kind.storage_type, test)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return _found(kind.value_type, test)
    return any(_found(kind.field(at).type, test) for at in range(kind.num_fields))


def _strange(kind: Any) -> bool:
    return bool(pa.types.is_union(kind) or pa.types.is_interval(kind))


def _nanosecond(kind: Any) -> bool:
    types = pa.types
    timed = types.is_timestamp(kind) or types.is_time64(kind) or types.is_duration(kind)
    return bool(timed and kind.unit == "ns")


def _coarser(kind: Any) -> Any:
    """The type with microseconds."""
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    return pa.time64("us") if pa.types.is_time64(kind) else pa.duration("us")


def _without_nanoseconds(array: Any) -> Any:
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _without_nanoseconds(array.dictionary_decode())
    if not _nanosecond(kind):  # within a list or an object: exact, or refused
        return array.cast(_replaced(kind))
    try:
        return array.cast(_coarser(kind))
    except pa.ArrowInvalid:
        return array.cast(pa.int64()).cast(pa.string()) if pa.types.is_duration(kind) else _texts(array)


def _texts(array: Any) -> Any:
    if pa.types.is_timestamp(array.type) and array.type.tz:
        array = array.cast(pa.timestamp("ns", "UTC"))
    return pa.compute.replace_substring(array.cast(pa.string()), " ", "T", max_replacements=1)


def _replaced(kind: Any) -> Any:
    types = pa.types
    if _nanosecond(kind):
        return _coarser(kind)
    if types.is_struct(kind):
        return pa.struct([field.with_type(_replaced(field.type)) for field in kind.fields])
    if types.is_map(kind):
        return pa.map_(_replaced(kind.key_type), _replaced(kind.item_type))
    if types.is_fixed_size_list(kind):
        return pa.list_(_replaced(kind.value_type), kind.list_size)
    if types.is_large_list(kind):
        return pa.large_list(_replaced(kind.value_type))
    return pa.list_(_replaced(kind.value_type)) if types.is_list(kind) else kind


def _with_nanoseconds(cells: Sequence[Any], kind: Any) -> Any:
    if pa.types.is_timestamp(kind):
        texts = [cell.isoformat() if isinstance(cell, datetime) else cell for cell in cells]
        return pa.array(texts, type=pa.string()).cast(kind)
    return pa.array([_nanoseconds(cell) for cell in cells], type=pa.int64()).cast(kind)


def _nanoseconds(cell: timedelta | time | str | None) -> int | None:
    """A span, or a time since midnight; as text a span is a number and a time is 01:02:03.123456789."""
    if isinstance(cell, timedelta):
        return cell // timedelta(microseconds=1) * 1000
    if cell is None or (isinstance(cell, str) and ":" not in cell):
        return None if cell is None else int(cell)
    hours, minutes, seconds = str(cell).split(":")
    whole, _, fraction = seconds.partition(".")
    return (int(hours) * 3600 + int(minutes) * 60 + int(whole)) * 10**9 + int(fraction.ljust(9, "0"))


def _unpaired(cell: Any) -> Any:
    """Maps come as pairs of tuples; a cell has lists."""
    if isinstance(cell, list | tuple):
        return [_unpaired(item) for item in cell]
    return {key: _unpaired(item) for key, item in cell.items()} if isinstance(cell, dict) else cell


def _paired(cell: Any, kind: Any) -> Any:
    types = pa.types
    if cell is None:
        return None
    if types.is_map(kind):
        pairs = cell.items() if isinstance(cell, dict) else cell
        return [(_paired(key, kind.key_type), _paired(item, kind.item_type)) for key, item in pairs]
    if types.is_struct(kind) and isinstance(cell, dict):
        return {field.name: _paired(cell.get(field.name), field.type) for field in kind.fields}
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return [_paired(item, kind.value_type) for item in cell]
    return cell

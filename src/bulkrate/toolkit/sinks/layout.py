"""The columns as a sink writes them: vectors kept as int8 have their scale in a column beside them."""

from __future__ import annotations

from typing import Any

from bulkrate.errors import SinkError
from bulkrate.toolkit.rows.table import Column, Row, Table, Vector


class Layout:
    """The columns of a table, and each row's cells in their order."""

    def __init__(self, table: Table, name: str) -> None:
        self.columns: list[Column] = []
        for column in table.columns:
            self.columns.append(column)
            if column.scale is not None:
                self.columns.append(Column(name=column.scale, kind="number"))
        self.names = [column.name for column in self.columns]
        for number, column_name in enumerate(self.names):
            if column_name in self.names[:number]:
                raise SinkError(
                    f"{name}: two columns would be named {column_name!r}; rename one in the source"
                )
        self._scaled = [(column.name, column.scale) for column in table.columns if column.scale is not None]

    def row(self, row: Row) -> Row:
        """The row with exactly these columns; what it lacks is None."""
        cells = {name: row.get(name) for name in self.names}
        for name, scale in self._scaled:
            vector = cells[name]
            cells[scale] = vector.scale if isinstance(vector, Vector) else None
        return cells

    def cells(self, row: Row) -> list[Any]:
        """The cells of a row, in the order of the columns."""
        return list(self.row(row).values()) if self._scaled else [row.get(name) for name in self.names]

"""What of a store travels in an export: columns and tables, whichever migrations made them.

What belongs to a document or a chunk is found in the schema itself: every column that is neither an
id nor counted anew, and every table whose only foreign key names `documents` or `chunks`. So what
later migrations add is exported without a line here.
"""

from __future__ import annotations

import base64
import binascii
import math
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

FORMAT = 1
PRUNED_FORMAT = 2
"""Of an export with merged modulations or chunks that were dropped; else it is `FORMAT`."""
MAGIC = "mac-store-export"
MAX_LINE = 4 << 20
MAX_PART = 128 << 20
_HEADER_SLACK = 64 << 10

Value = str | int | float | bytes | None

_COUNTED = {
    "documents": {"id", "chunks", "tokens", "bytes", "text_bytes"},
    "chunks": {"id", "document_id", "position", "bytes", "pruned"},
}
_TRAVEL_OTHERWISE = {"chunks", "modulations", "digests"}
_BASE64 = "base64"


class ValueRefused(ValueError):
    """A value, column or table does not fit the schema."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column's name, declared type, and whether it may be empty."""

    name: str
    type: str
    optional: bool


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of a table that travel; `owner` is the one that names the document or chunk."""

    name: str
    columns: tuple[Column, ...]
    owner: str = "id"

    @property
    def names(self) -> str:
        """The columns as SQL."""
        return ", ".join(f'"{column.name}"' for column in self.columns)

    def row(self, values: Mapping[str, Any]) -> dict[str, Value]:
        """Values from an export, checked against the columns.

        Raises:
            ValueRefused: one has another type, or there is no such column.
        """
        known = {column.name: column for column in self.columns}
        row: dict[str, Value] = {}
        for name, value in values.items():
            if name in known:
                row[name] = _checked(known[name], value)
            elif value is not None:
                raise ValueRefused(f"this program knows no {name[:40]!r} of {self.name}")
        return row


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything that travels."""

    document: Table
    chunk: Table
    of_documents: tuple[Table, ...]
    of_chunks: tuple[Table, ...]


def layout(connection: sqlite3.Connection) -> Layout:
    """Read from the schema what travels."""
    return Layout(
        Table("documents", _columns(connection, "documents", _COUNTED["documents"])),
        Table("chunks", _columns(connection, "chunks", _COUNTED["chunks"])),
        _related(connection, "documents"),
        _related(connection, "chunks"),
    )


def related(
    connection: sqlite3.Connection, tables: Sequence[Table], owner_id: int
) -> dict[str, list[dict[str, Any]]]:
    """The rows of `tables` that belong to one document or chunk, as JSON; only tables with some."""
    found = {}
    for table in tables:
        rows = connection.execute(
            f'SELECT {table.names} FROM "{table.name}" WHERE "{table.owner}" = ? '
            f"ORDER BY {table.names}",
            (owner_id,),
        ).fetchall()
        if rows:
            found[table.name] = [as_json(table, row) for row in rows]
    return found


def write_related(
    connection: sqlite3.Connection, tables: Sequence[Table], owner_id: int, rows: Any
) -> None:
    """Put the rows of an export in the place of those that belong to a document or chunk.

    Raises:
        ValueRefused: they do not fit.
    """
    known = {table.name: table for table in tables}
    for table in tables:
        connection.execute(f'DELETE FROM "{table.name}" WHERE "{table.owner}" = ?', (owner_id,))
    if not isinstance(rows, dict):
        raise ValueRefused("what belongs to a document is no object")
    for name, records in rows.items():
        if name not in known or not isinstance(records, list):
            raise ValueRefused(f"this program knows no table {name[:40]!r}")
        for record in records:
            if not isinstance(record, dict):
                raise ValueRefused(f"a row of {name} is no object")
            values = {**known[name].row(record), known[name].owner: owner_id}
            columns = ", ".join(f'"{column}"' for column in values)
            connection.execute(
                f'INSERT INTO "{name}" ({columns}) VALUES ({", ".join("?" * len(values))})',
                tuple(values.values()),
            )


def as_json(table: Table, row: Sequence[Value]) -> dict[str, Any]:
    """A row of `table` as JSON: bytes become an object with their base64."""
    return {
        column.name: {_BASE64: base64.b64encode(value).decode()}
        if isinstance(value, bytes)
        else value
        for column, value in zip(table.columns, row, strict=True)
    }


def arrays(data: bytes, wanted: Mapping[str, tuple[str, tuple[int, ...]]]) -> dict[str, Any]:
    """The arrays in a safetensors file, which must be these: by name dtype and shape.

    Raises:
        ValueRefused: they are not. No array is made before the file has the size that they need.
    """
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import load

    expected = sum(np.dtype(kind).itemsize * math.prod(shape) for kind, shape in wanted.values())
    if not expected <= len(data) <= expected + _HEADER_SLACK:
        raise ValueRefused(f"a part of {len(data):,} bytes holds {expected:,}")
    try:
        found = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ValueRefused("a part is no safetensors file") from error
    if {name: (str(array.dtype), array.shape) for name, array in found.items()} != wanted:
        raise ValueRefused("a part's arrays have other shapes than the store's")
    return found


def _columns(connection: sqlite3.Connection, table: str, left_out: set[str]) -> tuple[Column, ...]:
    rows = connection.execute(f'PRAGMA table_info("{table}")').fetchall()
    # A column that names a row of another table means nothing in another store.
    keys = connection.execute(f'PRAGMA foreign_key_list("{table}")').fetchall()
    left_out = left_out | {key[3] for key in keys}
    return tuple(
        Column(name, kind.upper(), not notnull)
        for _, name, kind, notnull, _, _ in rows
        if name not in left_out
    )


def _related(connection: sqlite3.Connection, parent: str) -> tuple[Table, ...]:
    tables = []
    query = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
    for (name,) in connection.execute(query).fetchall():
        keys = connection.execute(f'PRAGMA foreign_key_list("{name}")').fetchall()
        if len(keys) != 1 or keys[0][2] != parent or name in _TRAVEL_OTHERWISE:
            continue
        owner = keys[0][3]
        info = connection.execute(f'PRAGMA table_info("{name}")').fetchall()
        # An id of its own is given anew.
        primary = [row[1] for row in info if row[5]]
        ids = {owner}
        if len(primary) == 1 and any(r[1] == primary[0] and r[2] == "INTEGER" for r in info):
            ids.add(primary[0])
        tables.append(Table(name, _columns(connection, name, ids), owner))
    return tuple(tables)


def _checked(column: Column, value: Any) -> Value:
    if value is None and column.optional:
        return None
    if isinstance(value, dict) and value.keys() == {_BASE64} and isinstance(value[_BASE64], str):
        try:
            value = base64.b64decode(value[_BASE64], validate=True)
        except binascii.Error as error:
            raise ValueRefused(f"{column.name} is no base64") from error
    fits = {
        "INTEGER": isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63,
        "TEXT": isinstance(value, str) and _storable(value),
        "REAL": isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) < 1e300
        and math.isfinite(value),
        "BLOB": isinstance(value, bytes),
    }
    if not fits.get(column.type, isinstance(value, str | int | float | bytes)):
        raise ValueRefused(f"{column.name} cannot be {str(value)[:40]!r}")
    if column.name.endswith("_at"):
        try:
            datetime.fromisoformat(str(value))
        except ValueError as error:
            raise ValueRefused(f"{column.name} is no time: {str(value)[:40]!r}") from error
    assert value is None or isinstance(value, str | int | float | bytes)
    return value


def _storable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

"""Is a file an export at all? Its header, its schema and its pages, before any row is read.

The file is opened read-only, by a connection that runs no code of the file (no views, triggers or
functions), and must have exactly the tables, indexes and triggers of a store of its version.
"""

from __future__ import annotations

import re
import sqlite3
import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from store.errors import ExportFormatError, StoreCorruptError, StoreError, corrupt
from store.index import schema
from store.index.connection import pragma
from store.index.opening import Identity, read_identity

_MAGIC = b"SQLite format 3\0"
_MAX_VALUE = 128 << 20  # bytes of a text or blob
_READ = (
    "meta",
    "documents",
    "document_tags",
    "chunks",
    "modulations",
    "merged",
    "members",
    "key_blocks",
)


@contextmanager
def open_checked(file: Path) -> Iterator[tuple[str, int, sqlite3.Connection, Identity]]:
    """Open an export whose header, schema and pages are right.

    Yields:
        its name in messages, its size in bytes, a connection that can only read, and its identity.

    Raises:
        ExportFormatError: the file is not an export, or is damaged.
        StoreError: it cannot be read.
    """
    name = printable(str(file))
    try:
        size = file.stat().st_size
        with open(file, "rb") as stream:
            header = stream.read(100)
    except OSError as error:
        raise StoreError(f"{name} cannot be read: {error.strerror or error}") from error
    _check_header(name, header, size)
    # Nobody else writes an export, so nothing of SQLite's is wanted beside it.
    uri = f"{file.absolute().as_uri()}?mode=ro&immutable=1"
    with guarded(name):
        connection = sqlite3.connect(uri, uri=True, isolation_level=None)
    with closing(connection):
        with guarded(name):
            _restrict(connection)
            _check_schema(name, connection)
            for table in _READ:
                ((line, *_),) = connection.execute(f"PRAGMA integrity_check({table})").fetchmany(1)
                if line != "ok":
                    raise damaged(name, str(line))
            schema.present(connection)
            connection.execute("PRAGMA query_only = ON")
            identity = _read_identity(name, connection, file)
        yield name, size, connection, identity


def _read_identity(name: str, connection: sqlite3.Connection, file: Path) -> Identity:
    """Read which store the export is of."""
    odd = "SELECT 1 FROM meta WHERE typeof(key) <> 'text' OR typeof(value) <> 'text'"
    try:
        if connection.execute(odd).fetchone():
            raise corrupt(file, "its table meta holds something other than text")
        identity = read_identity(connection, file)
    except StoreCorruptError as error:
        raise damaged(name, "it does not say which store it is of") from error
    if not (identity.fingerprint.isprintable() and identity.model.isprintable()):
        raise damaged(name, "it does not say which store it is of")
    return identity


def _check_header(name: str, header: bytes, size: int) -> None:
    """Look at the first bytes before SQLite does."""
    if len(header) < 100 or header[:16] != _MAGIC:
        raise no_export(name)
    (page,) = struct.unpack_from(">H", header, 16)
    pages, encoding, version, application = (
        struct.unpack_from(">I", header, offset)[0] for offset in (28, 56, 60, 68)
    )
    if application != schema.APPLICATION_ID:
        raise no_export(name)
    if version > schema.VERSION:
        raise ExportFormatError(
            f"{name} is an export of schema version {version}; this program reads versions up to "
            f"{schema.VERSION}",
            hint="Upgrade this program.",
        )
    if header[18:20] != b"\1\1":
        raise ExportFormatError(
            f"{name} is the database of a store in use, not an export",
            hint="Export the store it belongs to: mac store export FILE",
        )
    if version < 1 or encoding != 1:
        raise damaged(name, "its header is not that of a store")
    if size != pages * (65536 if page == 1 else page):
        raise damaged(name, "it is cut short, or something was added to it")


def _restrict(connection: sqlite3.Connection) -> None:
    """Let a connection read tables, and do nothing else."""
    if sys.version_info >= (3, 12):
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_ENABLE_TRIGGER, False)
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_ENABLE_VIEW, False)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    for setting in ("trusted_schema = OFF", "cell_size_check = ON"):
        connection.execute(f"PRAGMA {setting}")


def _check_schema(name: str, connection: sqlite3.Connection) -> None:
    """Make sure that the tables, indexes and triggers are those of a store, and no others."""
    objects = frozenset(
        (kind, title, table, _normal(sql))
        for kind, title, table, sql in connection.execute(
            "SELECT type, name, tbl_name, sql FROM sqlite_master"
        )
    )
    wanted = _schema_of(pragma(connection, "user_version"))
    for kind, title, *_ in sorted(map(_texts, objects - wanted)):
        raise damaged(name, f"its {printable(kind)} {quoted(title)} is not a store's")
    for kind, title, *_ in sorted(map(_texts, wanted - objects)):
        raise damaged(name, f"its {kind} {title} is missing")


def _texts(values: Sequence[Any]) -> tuple[str, ...]:
    """Return the values as text, which can be sorted whatever they are."""
    return tuple(map(str, values))


@cache
def _schema_of(version: int) -> frozenset[tuple[str, str, str, str | None]]:
    """Return type, name, table and SQL of everything that a store of this version consists of."""
    from sqlite_utils import Database

    database = Database(memory=True, execute_plugins=False)
    with closing(database.conn):
        schema.migrate(database, version)
        rows = database.conn.execute("SELECT type, name, tbl_name, sql FROM sqlite_master")
        return frozenset((kind, name, table, _normal(sql)) for kind, name, table, sql in rows)


def _normal(sql: Any) -> str | None:
    """Return SQL without the white space and the quotes that versions of sqlite-utils differ in."""
    if sql is None:
        return None
    text = re.sub(r'"(\w+)"|\[(\w+)\]|`(\w+)`', lambda match: match[match.lastindex or 0], str(sql))
    return re.sub(r"\s*([(),;])\s*", r"\1", re.sub(r"\s+", " ", text)).strip()


@contextmanager
def guarded(name: str) -> Iterator[None]:
    """Turn SQLite's errors about the file into one that names it."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError, OverflowError) as error:
        raise damaged(name, str(error)) from error


def no_export(name: str) -> ExportFormatError:
    """Return the error for a file that is something else."""
    return ExportFormatError(
        f"{name} is not an export of a store", hint="Make one with: mac store export FILE"
    )


def damaged(name: str, what: str) -> ExportFormatError:
    """Return the error for an export that no store wrote as it is."""
    return ExportFormatError(
        f"{name} is damaged: {printable(what)}",
        hint="Export the store again. What was imported before the damage is kept.",
    )


def quoted(value: Any) -> str:
    """Return a value of the file as it may stand in a message."""
    return repr(value)[:60]


def printable(text: str) -> str:
    """Return text as one line without control characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:300]

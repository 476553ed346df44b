"""Stores as an older version of the program left them."""

import os
import sqlite3
from contextlib import closing

from sqlite_utils import Database

from store.index import schema


def age(path, version=1):
    """Make of a store what it would be if a program of an older version had written it."""
    with closing(sqlite3.connect(path / "old.db", isolation_level=None)) as connection:
        schema.migrate(Database(connection, execute_plugins=False), version)
        connection.execute("ATTACH ? AS new", (str(path / "index.db"),))
        for table in [*sorted(schema.TABLES - {"chunks_fts"}), "sqlite_sequence"]:
            query = f"SELECT name FROM pragma_table_info('{table}', 'main')"
            names = ", ".join(f'"{row[0]}"' for row in connection.execute(query))
            if not names:  # a later version added the table
                continue
            connection.execute(f"DELETE FROM main.{table}")
            connection.execute(
                f"INSERT INTO main.{table} ({names}) SELECT {names} FROM new.{table}"
            )
        connection.execute("DETACH new")
    for suffix in ("-wal", "-shm"):
        (path / f"index.db{suffix}").unlink(missing_ok=True)
    os.replace(path / "old.db", path / "index.db")

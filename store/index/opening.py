"""Opening a store (is it one, do we know its schema, who wrote it), or making a new one."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from store.errors import FingerprintMismatchError, StoreError, corrupt
from store.index import schema
from store.index.connection import check_folder, connect, not_found, now, use_wal, writing

MAX_SIZE = (1 << 16) - 1  # a modulation's header has 16 bits for its latent size


@dataclass(frozen=True, slots=True)
class Identity:
    """What a store is, fixed when it is made; the sizes are those of its modulations and keys."""

    fingerprint: str
    model: str
    key_size: int
    latent_size: int
    store_id: bytes
    created_at: str


@dataclass(frozen=True, slots=True)
class ExpectedIdentity:
    """What a caller expects of a store; None stands for anything."""

    fingerprint: str | None = None
    model: str | None = None
    key_size: int | None = None
    latent_size: int | None = None


def open_index(
    path: Path, expected: ExpectedIdentity, *, create: bool, timeout: float
) -> tuple[sqlite3.Connection, bool, Identity]:
    """Open the store at `path`. Returns its connection, whether it can write, and its identity.

    Raises:
        ValueError: with `create`, something needed to make a store was not given.
        StoreError: and its subclasses, as described in `Store.open`.
        sqlite3.Error, OSError: to be translated by the caller.
    """
    if create:
        _check_complete(expected)
    check_folder(path, create=create)
    connection, writable = connect(path, create=create, timeout=timeout)
    try:
        version = schema.version(connection, path)
        if version == 0 and not create:
            raise not_found(path)
        if not writable:
            schema.present(connection)
        elif version < schema.VERSION:
            use_wal(connection, timeout)
            _migrate(connection, expected if create else None)
        schema.check_tables(connection, path)
        identity = read_identity(connection, path)
        _check_identity(path, identity, expected)
    except BaseException:
        connection.close()
        raise
    return connection, writable, identity


def _migrate(connection: sqlite3.Connection, expected: ExpectedIdentity | None) -> None:
    """Bring the schema up to date, and write what a new store is, in one transaction."""
    from sqlite_utils import Database

    with writing(connection):
        schema.migrate(Database(connection, execute_plugins=False))
        if expected is not None:
            _introduce(connection, expected)


def _check_complete(expected: ExpectedIdentity) -> None:
    if not expected.fingerprint:
        raise ValueError("a new store needs the fingerprint of the checkpoint that will write it")
    for name, size in (("key_size", expected.key_size), ("latent_size", expected.latent_size)):
        if size is None or not 1 <= size <= MAX_SIZE:
            raise ValueError(f"a new store needs a {name} of 1 to {MAX_SIZE}, not {size}")


def _introduce(connection: sqlite3.Connection, expected: ExpectedIdentity) -> None:
    """Write what the new store is, unless another process did so while this one waited."""
    values = {
        "fingerprint": expected.fingerprint,
        "model": expected.model or "",
        "key_size": str(expected.key_size),
        "latent_size": str(expected.latent_size),
        "store_id": os.urandom(16).hex(),
        "created_at": now(),
    }
    if not connection.execute("SELECT 1 FROM meta LIMIT 1").fetchone():
        connection.executemany("INSERT INTO meta (key, value) VALUES (?, ?)", values.items())


def read_identity(connection: sqlite3.Connection, path: Path) -> Identity:
    """Read what a store is.

    Raises:
        StoreCorruptError: the database does not say it, or says something impossible.
    """
    meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
    try:
        identity = Identity(
            fingerprint=meta["fingerprint"],
            model=meta["model"],
            key_size=int(meta["key_size"]),
            latent_size=int(meta["latent_size"]),
            store_id=bytes.fromhex(meta["store_id"]),
            created_at=meta["created_at"],
        )
    except KeyError as error:
        raise corrupt(path, f"index.db does not say its {error.args[0]}") from error
    except ValueError as error:
        raise corrupt(path, f"index.db says of itself: {error}") from error
    sizes_fit = 1 <= identity.key_size <= MAX_SIZE and 1 <= identity.latent_size <= MAX_SIZE
    if not sizes_fit or len(identity.store_id) != 16:
        raise corrupt(path, "index.db states impossible sizes")
    return identity


def _check_identity(path: Path, identity: Identity, expected: ExpectedIdentity) -> None:
    if expected.fingerprint is not None and expected.fingerprint != identity.fingerprint:
        model = f" ({identity.model})" if identity.model else ""
        wanted = f" ({expected.model})" if expected.model else ""
        raise FingerprintMismatchError(
            f"The store {path} was written with checkpoint {identity.fingerprint}{model}, "
            f"not with {expected.fingerprint}{wanted}",
            stored=identity.fingerprint,
            wanted=expected.fingerprint,
            hint="Use the checkpoint and encoder that wrote it or another store, or amortize the "
            "stored texts again with these: mac store rebuild",
        )
    for name, expected_size, size in (
        ("key", expected.key_size, identity.key_size),
        ("latent", expected.latent_size, identity.latent_size),
    ):
        if expected_size is not None and expected_size != size:
            raise StoreError(
                f"The store {path} has {name} size {size}, not {expected_size}",
                hint="Use the checkpoint that wrote it, or another store.",
            )


def check_unchanged(connection: sqlite3.Connection, path: Path, identity: Identity) -> None:
    """Raise `StoreError` if another process rebuilt the store for another checkpoint meanwhile.

    Call it in the transaction that writes modulations.
    """
    row = connection.execute("SELECT value FROM meta WHERE key = 'fingerprint'").fetchone()
    if row != (identity.fingerprint,):
        raise StoreError(
            f"The store {path} was rebuilt for another checkpoint meanwhile",
            hint="Run the same command again.",
        )

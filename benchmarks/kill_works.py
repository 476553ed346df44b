"""What `benchmarks.kill` interrupts: a small store without a model, and all that writes to one.

The modulations follow from a document's name and version, so that `look` can tell what must be
there.
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import old_store
from store import NewChunk, Store, keyblock
from store.exportfile import ExportFile
from store.pruning import Strategy
from store.target import Target

R, E, TOKENS = 16, 8, 6
OLD, NEW = "fingerprint-1", "fingerprint-2"

State = dict[str, tuple[int, int]]
"""Each document's version, and a sum over its modulations."""


def make(source: str, version: int, fingerprint: str) -> list[NewChunk]:
    """The chunks of a version of a document, as a checkpoint of that fingerprint amortizes them."""
    seed = zlib.crc32(f"{source}/{version}".encode())
    rng = np.random.default_rng([seed, zlib.crc32(fingerprint.encode())])
    chunks = []
    for n in range(3 + seed % 20):
        text = f"Chunk {n} of {source}, version {version}."
        latents = rng.integers(-127, 128, (TOKENS, R)).astype(np.int8)
        scales = rng.random(TOKENS).astype(np.float16)
        key = rng.standard_normal(E).astype(np.float16)
        chunks.append(NewChunk(n * 50, n * 50 + len(text), text, latents, scales, key))
    return chunks


def put(store: Store, source: str, version: int) -> None:
    chunks = make(source, version, store.fingerprint)
    store.put(source, content_hash=str(version), chunking="c", chunks=chunks)


def open_store(folder: Path, fingerprint: str = OLD) -> Store:
    return Store.open(folder, fingerprint=fingerprint, key_size=E, latent_size=R, create=True)


def look(folder: Path) -> State:
    """Check everything in a store, and return what is in it."""
    state = {}
    with Store.open(folder) as store:
        problems = list(store.verify())
        assert not problems, problems
        stats = store.stats()
        for document in store.documents():
            version = int(document.content_hash)
            # A document that was renamed holds what its first name made.
            expected = make(document.title or document.source, version, store.fingerprint)
            rows = store.chunks(document.id)
            assert [row.text for row in rows] == [chunk.text for chunk in expected]
            there = [row for row in rows if not row.pruned]
            stored = store.modulations([row.id for row in there])
            if stats.modulations == stats.chunks:
                for (latents, scales), chunk in zip(stored, expected, strict=True):
                    assert np.array_equal(latents, chunk.latents)
                    assert np.array_equal(scales, chunk.scales)
            total = zlib.crc32(repr([row.position for row in there]).encode())
            for latents, scales in stored:
                total = zlib.crc32(scales.tobytes(), zlib.crc32(latents.tobytes(), total))
            assert store.search(f"chunk version {version}", 1)
            state[document.source] = version, total
    return state


@dataclass(frozen=True)
class Work:
    """Something that writes: what it starts from, and what it does (more often than once).

    `whole` tells that it is one transaction.
    """

    name: str
    prepare: Callable[[Path], None]
    do: Callable[[Path], None]
    whole: bool = False


BANK, OTHER = "bank", "other"


def fill(folder: Path) -> None:
    with open_store(folder / BANK) as store:
        for n in range(12):
            put(store, f"doc{n}", 1)


def ingest(folder: Path) -> None:
    with open_store(folder / BANK) as store:
        for n in range(6, 24):
            found = store.document(f"doc{n}")
            if found is None or found.content_hash != "2":
                put(store, f"doc{n}", 2)


def sync(folder: Path) -> None:
    """What `mac ingest --sync` does to a store: some files moved, some changed, some are gone."""
    with open_store(folder / BANK) as store:
        for n in range(4):
            store.rename(f"doc{n}", f"moved{n}", content_hash="1", title=f"doc{n}")
        for n in range(4, 8):
            if store.document(f"doc{n}").content_hash == "1":  # type: ignore[union-attr]
                put(store, f"doc{n}", 2)
        for n in range(8, 12):
            store.remove(f"doc{n}")


def remove(folder: Path) -> None:
    with open_store(folder / BANK) as store:
        for n in range(0, 12, 2):
            store.remove(f"doc{n}")


def compact(folder: Path) -> None:
    """Replace and remove so much that the key file is written anew again and again."""
    keyblock._MIN_DEAD = 4
    with open_store(folder / BANK) as store:
        for n in range(12):
            put(store, f"doc{n % 4}", 3)
            store.remove(f"doc{4 + n // 2}")


def prune_by(strategy: Strategy) -> Callable[[Path], None]:
    def prune(folder: Path) -> None:
        with open_store(folder / BANK) as store:
            if store.undoable() is None:
                store.prune(strategy, Target(share=0.5))

    return prune


def fill_and_prune(folder: Path) -> None:
    fill(folder)
    prune_by("merge")(folder)


def undo(folder: Path) -> None:
    with open_store(folder / BANK) as store:
        store.undo()


def fill_and_remove(folder: Path) -> None:
    fill(folder)
    remove(folder)


def vacuum(folder: Path) -> None:
    with open_store(folder / BANK) as store:
        store.vacuum()


def fill_and_export(folder: Path) -> None:
    fill(folder)
    with open_store(folder / OTHER) as store:
        for n in range(6, 24):
            put(store, f"doc{n}", 2)
        with open(folder / "export", "wb") as file:
            store.export(file)
    shutil.rmtree(folder / OTHER)


def load(folder: Path) -> None:
    with open(folder / "export", "rb") as file, open_store(folder / BANK) as store:
        store.load(ExportFile(file, "export"))


def copy(folder: Path) -> None:
    with open_store(folder / BANK) as store:
        if not (folder / OTHER).exists():
            store.copy(folder / OTHER)
    assert look(folder / OTHER) == look(folder / BANK)


def rebuild(folder: Path) -> None:
    with Store.open(folder / BANK) as store:
        if store.fingerprint == NEW:
            return
        with open_store(folder / BANK / "rebuild", NEW) as draft:
            for document in store.documents():
                if draft.document(document.source) is None:
                    put(draft, document.source, int(document.content_hash))
            assert store.adopt(draft)


def fill_old(folder: Path) -> None:
    made = {f"doc{n}": ("1", make(f"doc{n}", 1, OLD)) for n in range(12)}
    old_store.write(folder / BANK, made, fingerprint=OLD, key_size=E, latent_size=R)


def migrate(folder: Path) -> None:
    Store.open(folder / BANK).close()


WORKS = [
    Work("ingest", fill, ingest),
    Work("ingest into a new store", lambda folder: None, ingest),
    Work("sync", fill, sync),
    Work("remove", fill, remove),
    Work("compact", fill, compact),
    Work("prune by dropping", fill, prune_by("random"), whole=True),
    Work("prune by merging", fill, prune_by("merge"), whole=True),
    Work("undo", fill_and_prune, undo, whole=True),
    Work("vacuum", fill_and_remove, vacuum),
    Work("vacuum after a prune", fill_and_prune, vacuum),
    Work("import", fill_and_export, load),
    Work("copy", fill, copy),
    Work("rebuild", fill, rebuild),
    Work("migrate", fill_old, migrate),
]

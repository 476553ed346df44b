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

from store import NewChunk, Store
from store.care.repair import repair as repair_store
from store.care.vacuum import vacuum as vacuum_store
from store.care.verify import verify
from store.index import keys
from store.moving.export import copy as copy_store
from store.moving.export import export as export_store
from store.moving.load import load as load_export
from store.moving.rebuild import DRAFT, adopt
from store.pruning import prune as pruning
from store.pruning.prune import Strategy
from store.pruning.target import Target

R, E, TOKENS = 16, 8, 6
PART = 7
OLD, NEW = "fingerprint-1", "fingerprint-2"

State = dict[str, tuple[int, int, int]]
"""Each document's version, how many of its chunks are stored, and a sum over its modulations."""


def make(source: str, version: int, fingerprint: str) -> list[NewChunk]:
    """Return the chunks of a version of a document, as a checkpoint amortizes them."""
    seed = zlib.crc32(f"{source}/{version}".encode())
    rng = np.random.default_rng([seed, zlib.crc32(fingerprint.encode())])
    chunks = []
    for n in range(3 + seed % 20 + (40 if source.startswith("long") else 0)):
        text = f"Chunk {n} of {source}, version {version}."
        latents = rng.integers(-127, 128, (TOKENS, R)).astype(np.int8)
        scales = rng.random(TOKENS).astype(np.float16)
        key = rng.standard_normal(E).astype(np.float16)
        chunks.append(NewChunk(n, n * 50, n * 50 + len(text), text, latents, scales, key))
    return chunks


def put(store: Store, source: str, version: int) -> None:
    chunks = make(source, version, store.fingerprint)
    store.put(source, content_hash=str(version), chunking="c", chunks=chunks)


def put_in_parts(store: Store, source: str, version: int) -> None:
    """Store a long document part by part, or finish what an earlier run has begun."""
    chunks = make(source, version, store.fingerprint)
    document = store.document(source)
    if document is None or document.content_hash != str(version):
        store.put(
            source,
            content_hash=str(version),
            chunking="c",
            chunks=chunks[:PART],
            expected=len(chunks),
        )
    document = store.document(source)
    assert document is not None
    for start in range(document.chunks, len(chunks), PART):
        part = chunks[start : start + PART]
        store.extend(source, content_hash=str(version), chunks=part)


def open_store(folder: Path, fingerprint: str = OLD) -> Store:
    return Store.open(folder, fingerprint=fingerprint, key_size=E, latent_size=R, create=True)


def look(folder: Path) -> State:
    """Check everything in a store, and return what is in it."""
    state = {}
    with Store.open(folder) as store:
        problems = list(verify(store))
        assert not problems, problems
        stats = store.stats()
        found: dict[int, np.ndarray] = {}
        for ids, block in store.keys(block=64):
            found.update(zip(ids.tolist(), block, strict=True))
        for document in store.documents():
            version = int(document.content_hash)
            # A document that was renamed holds what its first name made.
            expected = make(document.title or document.source, version, store.fingerprint)
            rows = store.chunks(document.id)
            assert document.expected == len(expected), document
            assert [row.position for row in rows] == list(range(document.chunks))
            assert [row.text for row in rows] == [c.text for c in expected[: document.chunks]]
            used = [row for row in rows if not row.pruned]
            for row in used:
                assert np.array_equal(found.pop(row.id), expected[row.position].key)
            total = zlib.crc32(repr([row.position for row in used]).encode())
            modulations = [m.spread() for m in store.modulations([row.id for row in used])]
            for row, (latents, scales) in zip(used, modulations, strict=True):
                if stats.modulations == stats.chunks:
                    assert np.array_equal(latents, expected[row.position].latents)
                    assert np.array_equal(scales, expected[row.position].scales)
                total = zlib.crc32(scales.tobytes(), zlib.crc32(latents.tobytes(), total))
            assert store.search(f"chunk version {version}", 1)
            state[document.source] = version, document.chunks, total
        assert not found, "keys of chunks that are gone"
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
            document = store.document(f"doc{n}")
            if document is None or document.content_hash != "2":
                put(store, f"doc{n}", 2)


def ingest_in_parts(folder: Path) -> None:
    with open_store(folder / BANK) as store:
        for n in range(3):
            put_in_parts(store, f"long{n}", 1)


def fill_long(folder: Path) -> None:
    fill(folder)
    ingest_in_parts(folder)


def update_in_parts(folder: Path) -> None:
    with open_store(folder / BANK) as store:
        for n in range(3):
            put_in_parts(store, f"long{n}", 2)


def sync(folder: Path) -> None:
    """Do what `mac ingest --sync` does: some files moved, some changed, some are gone."""
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
    """Replace and remove so much that keys are folded away again and again."""
    keys._MIN_DEAD = 4
    with open_store(folder / BANK) as store:
        for n in range(12):
            put(store, f"doc{n % 4}", 3)
            store.remove(f"doc{4 + n // 2}")


def prune_by(strategy: Strategy) -> Callable[[Path], None]:
    def prune(folder: Path) -> None:
        with open_store(folder / BANK) as store:
            if pruning.undoable(store) is None:
                pruning.prune(store, strategy, Target(share=0.5))

    return prune


def fill_and_prune(folder: Path) -> None:
    fill(folder)
    prune_by("merge")(folder)


def fill_and_drop(folder: Path) -> None:
    fill(folder)
    prune_by("random")(folder)


def undo(folder: Path) -> None:
    with open_store(folder / BANK) as store:
        pruning.undo(store)


def fill_and_remove(folder: Path) -> None:
    fill(folder)
    remove(folder)


def vacuum(folder: Path) -> None:
    with open_store(folder / BANK) as store:
        vacuum_store(store)


def fill_and_export(folder: Path) -> None:
    fill(folder)
    with open_store(folder / OTHER) as store:
        for n in range(6, 24):
            put(store, f"doc{n}", 2)
        export_store(store, folder / "export")
    shutil.rmtree(folder / OTHER)


def load(folder: Path) -> None:
    load_export(folder / BANK, folder / "export")


def copy(folder: Path) -> None:
    with open_store(folder / BANK) as store:
        if not (folder / OTHER).exists():
            copy_store(store, folder / OTHER)
    assert look(folder / OTHER) == look(folder / BANK)


def export(folder: Path) -> None:
    with open_store(folder / BANK) as store:
        export_store(store, folder / "export", force=True)
    shutil.rmtree(folder / OTHER, ignore_errors=True)
    load_export(folder / OTHER, folder / "export")
    assert look(folder / OTHER) == look(folder / BANK)


def rebuild(folder: Path) -> None:
    with Store.open(folder / BANK) as store:
        if store.fingerprint == NEW:
            return
        with open_store(folder / BANK / DRAFT, NEW) as draft:
            for document in store.documents():
                if draft.document(document.source) is None:
                    put(draft, document.source, int(document.content_hash))
            assert adopt(store, draft)


def repair(folder: Path) -> None:
    """Spoil what can be computed, in one transaction, and repair it."""
    with open_store(folder / BANK) as store:
        for statement in (
            "UPDATE documents SET tokens = 1, bytes = 2",
            "INSERT INTO dead_keys SELECT id FROM chunks WHERE id % 2",
            "INSERT INTO chunks_fts (chunks_fts) VALUES ('delete-all')",
        ):
            store.connection.execute(statement)
        assert not repair_store(store)


def mend(folder: Path) -> None:
    """Let a repair finish what a killed one has left."""
    with open_store(folder / BANK) as store:
        assert not repair_store(store)


WORKS = [
    Work("ingest", fill, ingest),
    Work("ingest into a new store", lambda folder: None, ingest),
    Work("ingest in parts", fill, ingest_in_parts),
    Work("update in parts", fill_long, update_in_parts),
    Work("sync", fill, sync),
    Work("remove", fill, remove),
    Work("fold keys", fill, compact),
    Work("prune by dropping", fill, prune_by("random"), whole=True),
    Work("prune by merging", fill, prune_by("merge"), whole=True),
    Work("undo dropping", fill_and_drop, undo, whole=True),
    Work("undo merging", fill_and_prune, undo, whole=True),
    Work("vacuum", fill_and_remove, vacuum),
    Work("vacuum after a prune", fill_and_prune, vacuum),
    Work("import", fill_and_export, load),
    Work("export", fill, export),
    Work("copy", fill, copy),
    Work("rebuild", fill, rebuild),
    Work("repair", fill, repair),
]

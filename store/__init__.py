"""The memory bank: an on-disk store of documents and their modulations.

    with Store.open(path, fingerprint=..., key_size=..., latent_size=..., create=True) as store:
        store.put("notes.txt", content_hash=..., chunking=..., chunks=[NewChunk(...), ...])
        for ids, keys in store.keys(): ...

It knows nothing of language models; arrays go in and come out as NumPy's.
"""

from store.bank import Store
from store.errors import (
    ChunksGoneError,
    ExportFormatError,
    FingerprintMismatchError,
    StoreBusyError,
    StoreCorruptError,
    StoreError,
    StoreNotFoundError,
    StoreVersionError,
)
from store.labels import Labels, Within
from store.prunes import Prune
from store.pruning import STRATEGIES, Strategy
from store.records import Change, ChunkRow, Document, Indexed, KeptChunk, NewChunk, Stats
from store.target import Target, TargetError

__all__ = [
    "STRATEGIES",
    "Change",
    "ChunkRow",
    "ChunksGoneError",
    "Document",
    "ExportFormatError",
    "FingerprintMismatchError",
    "Indexed",
    "KeptChunk",
    "Labels",
    "NewChunk",
    "Prune",
    "Stats",
    "Store",
    "StoreBusyError",
    "StoreCorruptError",
    "StoreError",
    "StoreNotFoundError",
    "StoreVersionError",
    "Strategy",
    "Target",
    "TargetError",
    "Within",
]

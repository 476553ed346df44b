"""The memory bank: an on-disk store of documents and their modulations.

    with Store.open(path, fingerprint=..., key_size=..., latent_size=..., create=True) as store:
        store.put("notes.txt", content_hash=..., chunking=..., chunks=[NewChunk(...), ...])
        for ids, keys in store.keys(): ...

It knows nothing of language models; arrays go in and come out as NumPy's. Pruning, care (verify,
repair, vacuum), moving (export, import, copy, rebuild) and approximate search are modules of this
package that take a store.
"""

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
from store.index import search
from store.labels import Labels, Within
from store.records import (
    ChunkRow,
    Document,
    Indexed,
    KeptChunk,
    NewChunk,
    Stats,
    StoredModulation,
)
from store.store import Store

__all__ = [
    "ChunkRow",
    "ChunksGoneError",
    "Document",
    "ExportFormatError",
    "FingerprintMismatchError",
    "Indexed",
    "KeptChunk",
    "Labels",
    "NewChunk",
    "Stats",
    "Store",
    "StoreBusyError",
    "StoreCorruptError",
    "StoreError",
    "StoreNotFoundError",
    "StoreVersionError",
    "StoredModulation",
    "Within",
    "search",
]

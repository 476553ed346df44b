"""The frozen LM's features of documents, computed once and kept on disk.

The base LM never changes, so neither do its keys and values of a document: a second epoch, a second
run and a resumed one read them instead. Stored as int8 around a corpus mean with one float16 scale
a layer's keys or values: X + 2 * 2L bytes a token (11.6 KB for SmolLM2-135M).

Letters: T tokens, X features of a token (see `models.base.lm`), 2L groups (keys and values of each
layer).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from models.base.batching import batch_tokens, length_batches
from models.base.lm import BaseLM

CONTEXT_TOKENS = 64
"""Only the last N tokens of a longer context are read: those nearest to the text."""


def document_ids(lm: BaseLM, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
    """Return the token ids that a document is amortized from: begin of sequence, then the text.

    The first token soaks up attention whatever it is; its features are thrown away, and the
    constant prefix tokens take its part.
    """
    return [[lm.bos_id, *row] for row in lm.tokenize(texts, max_tokens)]


def compute(
    lm: BaseLM, ids: Sequence[Sequence[int]], contexts: Sequence[Sequence[int]] = ()
) -> list[Tensor]:
    """Return features [T, X] of each document; batched by length.

    Args:
        lm: the frozen base LM.
        ids: of each document, see `document_ids`; the first token's features are left out.
        contexts: token ids that are read between the first token and the document, and then left
            out, too; the last `CONTEXT_TOKENS` of each, or fewer where the LM lacks positions.
    """
    skip = [1] * len(ids)
    if contexts:
        before = [_fitting(lm, c, len(row)) for c, row in zip(contexts, ids, strict=True)]
        ids = [[row[0], *c, *row[1:]] for c, row in zip(before, ids, strict=True)]
        skip = [1 + len(c) for c in before]
    out: list[Tensor] = [torch.empty(0)] * len(ids)
    for batch in length_batches([len(row) for row in ids], batch_tokens(lm.device)):
        x = lm.features(lm.pad([ids[i] for i in batch])).flatten(2)
        for i, row in zip(batch, x, strict=True):
            out[i] = row[skip[i] : len(ids[i])]
    return out


def _fitting(lm: BaseLM, context: Sequence[int], taken: int) -> Sequence[int]:
    """Return the last tokens of a context that fit before a document of `taken` tokens."""
    positions = lm.architecture.positions
    most = CONTEXT_TOKENS if positions is None else min(CONTEXT_TOKENS, positions - taken)
    return context[max(0, len(context) - max(0, most)) :]


def _key(document: Sequence[int], context: Sequence[int]) -> str:
    """Name the features of a document's tokens after a context's."""
    text = np.asarray(document, np.int32).tobytes()
    before = np.asarray(context, np.int32).tobytes()
    return hashlib.sha256(text + (b"\0" + before if before else b"")).hexdigest()[:32]


class FeatureCache:
    """Features of documents by their tokens; on disk where a folder is given, else computed.

    Several processes may share a folder: rows are only ever added, under a lock.

    Args:
        lm: the frozen base LM.
        max_tokens: where documents are cut.
        folder: holds features.bin (append-only), index.jsonl (a line once its rows are on disk) and
            center.npy; made when missing.
        center: [X], what is taken off before rounding; only for a new folder.
    """

    def __init__(self, lm: BaseLM, max_tokens: int, folder: Path | None, center: Tensor) -> None:
        self.lm, self.max_tokens, self.folder = lm, max_tokens, folder
        self._groups = lm.shape.layers * 2
        self._row = lm.shape.features + 2 * self._groups
        self._places: dict[str, tuple[int, int]] = {}
        self._center = center.detach().float().cpu()
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        self._data, self._index = folder / "features.bin", folder / "index.jsonl"
        self._lock = FileLock(folder / "lock")
        self._indexed = 0  # bytes of the index that are read
        self._end = 0  # rows that the index knows
        with self._lock:
            if (folder / "center.npy").exists():
                self._center = torch.from_numpy(np.load(folder / "center.npy", allow_pickle=False))
            else:
                np.save(folder / "center.npy", self._center.numpy())
            self._refresh()

    def get(self, texts: Sequence[str], contexts: Sequence[str] = ()) -> list[Tensor]:
        """Return features float32 [T, X] of each text, read after its context, if there are any.

        They are on the LM's device.
        """
        ids = document_ids(self.lm, texts, self.max_tokens)
        before = self.lm.tokenize(contexts or [""] * len(texts))
        if self.folder is None:
            return [x.float() for x in compute(self.lm, ids, before)]
        keys = [_key(*rows) for rows in zip(ids, before, strict=True)]
        missing = {key: i for i, key in enumerate(keys) if key not in self._places}
        if missing:
            places = list(missing.values())
            read = compute(self.lm, [ids[i] for i in places], [before[i] for i in places])
            computed = dict(zip(missing, read, strict=True))
            with self._lock:
                self._refresh()
                self._append({k: x for k, x in computed.items() if k not in self._places})
        data = np.memmap(self._data, np.uint8, "r").reshape(-1, self._row)
        return [self._unpack(data, *self._places[key]) for key in keys]

    def _refresh(self) -> None:
        """Read what other processes added, and cut off what a crash left without an index line."""
        with self._index.open("a+b") as index:
            index.seek(self._indexed)
            added = index.read()
            whole = added.rfind(b"\n") + 1
            index.truncate(self._indexed + whole)
        self._indexed += whole
        for line in added[:whole].splitlines():
            key, start, length = json.loads(line)
            self._places[key] = (start, length)
            self._end = max(self._end, start + length)
        with self._data.open("ab") as data:
            data.truncate(self._end * self._row)

    def _append(self, features: Mapping[str, Tensor]) -> None:
        end, lines = self._end, []
        with self._data.open("ab") as data:
            for key, x in features.items():
                x = (x.float().cpu() - self._center).unflatten(-1, (self._groups, -1))
                scale = (x.abs().amax(-1) / 127).clamp_min(1e-6).half()
                whole = (x / scale.float()[..., None]).round().clamp(-127, 127).to(torch.int8)
                row = np.concatenate(
                    (whole.flatten(1).numpy().view(np.uint8), scale.numpy().view(np.uint8)), 1
                )
                data.write(row.tobytes())
                lines.append(json.dumps([key, end, len(x)]) + "\n")
                end += len(x)
        with self._index.open("a") as index:
            index.writelines(lines)
        self._refresh()

    def _unpack(self, data: np.ndarray, start: int, length: int) -> Tensor:
        rows = torch.from_numpy(np.array(data[start : start + length]))
        features = self.lm.shape.features
        whole = rows[:, :features].view(torch.int8).unflatten(-1, (self._groups, -1))
        scale = rows[:, features:].contiguous().view(torch.float16)
        x = (whole * scale.float()[..., None]).flatten(1) + self._center
        moved: Tensor = x.to(self.lm.device)
        return moved

"""One shard's way: its inputs are read, cut and amortized into a store, which is exported."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maccli.reading import files, items, loaders
from maccli.service.amortizing import amortize_documents
from maccli.service.document import DocumentText
from maccli.service.session import Session, StoreAndModel
from maccli.sharding import places
from maccli.sharding.places import Folder
from maccli.sharding.plan import Shard
from store.labels import NO_CHANGE, Labels
from store.moving.export import export

if TYPE_CHECKING:
    from store.store import Store


@dataclass(frozen=True, slots=True)
class Job:
    """What is the same for every shard of an ingest.

    Attributes:
        out: where the shards go, a path or a URL.
        choice: the checkpoint; its store is not used.
        encoding: of every file; None finds it out.
        labels: tags and date of the documents.
    """

    out: str
    choice: StoreAndModel
    encoding: str | None = None
    labels: Labels = NO_CHANGE


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """What became of a shard; `sha256` is that of the file, `errors` counts inputs without text."""

    shard: str
    file: str
    bytes: int
    sha256: str
    documents: int
    chunks: int
    tokens: int
    errors: int


class Worker:
    """Amortizes shards one after the other; the model is loaded once.

    Args:
        job: what they have in common.
        session: with the checkpoint; None begins one.
    """

    def __init__(self, job: Job, session: Session | None = None) -> None:
        self._job, self._out = job, Folder(job.out)
        self._session = session or Session(job.choice)

    def amortize(self, shard: Shard) -> ShardRecord:
        """Write a shard's file, its errors, and the record that both are there.

        A shard that is there is left alone. It may be one of a worker that died before it said so,
        or of an earlier run's that goes on for a moment after the run was killed.

        Raises:
            MacError: the model cannot be used.
            OSError: the shard cannot be written.
        """
        if (there := finished(shard, self._out)) is not None:
            return there
        wrong: list[dict[str, str]] = []
        with tempfile.TemporaryDirectory(prefix="mac-shard-") as folder:
            session = self._session.beside(Path(folder) / "store")
            store = session.create_store()
            try:
                documents = self._documents(shard, wrong)
                for _ in amortize_documents(session.model, store, documents):
                    pass
                path = Path(folder) / "shard.mac"
                size = export(store, path)
                if (there := finished(shard, self._out)) is not None:
                    return there
                done = self._put(shard, store, path, size, len(wrong))
            finally:
                session.close()
        lines = "".join(json.dumps(line) + "\n" for line in wrong)
        self._out.write(shard.errors, lines.encode())
        self._out.write(shard.record, json.dumps(asdict(done)).encode())
        return done

    def _documents(self, shard: Shard, wrong: list[dict[str, str]]) -> Iterator[DocumentText]:
        for source in shard.inputs:
            try:
                name = source if places.is_remote(source) else files.path_of(source)
                data = places.read(name, loaders.MAX_BYTES + 1)
                loaded = loaders.from_bytes(data, name.rpartition("/")[2], self._job.encoding)
            except Exception as error:  # whatever it is, the others are read all the same
                wrong.append({"source": source, "error": items.why_not(error)[0]})
                continue
            yield DocumentText.of(source, loaded, self._job.labels)

    def _put(self, shard: Shard, store: Store, path: Path, size: int, errors: int) -> ShardRecord:
        stats = store.stats()
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._out.put(shard.file, path)
        numbers = (stats.documents, stats.chunks, stats.tokens, errors)
        return ShardRecord(shard.id, shard.file, size, digest, *numbers)


def finished(shard: Shard, out: Folder) -> ShardRecord | None:
    """Return what became of a shard; None if its file or its record is not there, or cut short."""
    data = out.read(shard.record)
    if data is None:
        return None
    try:
        known: dict[str, Any] = json.loads(data)
        done = ShardRecord(**known)
    except (ValueError, TypeError):
        return None
    return done if out.size(shard.file) == done.bytes else None

"""Keeping a store whole: verifying, repairing, compacting, copying, moving it."""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import IO, TYPE_CHECKING

from store.database import (
    GRAPH_PREFIX,
    INDEX_NAME,
    KEY_PREFIX,
    reading,
    synchronous,
    writing,
)
from store.disk import copy_database, require_space, sync_file, sync_folder
from store.errors import StoreError, corrupt, translated
from store.pruning import Pruning

if TYPE_CHECKING:
    from store.bank import Store
    from store.exportfile import ExportFile
    from store.importing import Imported, Policy
    from store.vacuum import Space
    from store.verify import Problem


class Upkeep(Pruning):
    """What keeps a store whole; see `store.bank.Store`."""

    def verify(self, advance: Callable[[int], None] | None = None) -> Iterator[Problem]:
        """Everything that is wrong with the store, as it is found; nothing if all is well.

        Memory is bounded, whatever the size of the store. Use up or close the iterator before
        writing. The texts are compared with full-text search only if the store can be written.

        Args:
            advance: called with the number of chunks looked at since the last call.
        """
        from store.verify import Verification

        look = Verification(
            self._connection,
            self._views,
            self._key_block,
            writable=self.writable,
            advance=advance or (lambda _: None),
        )
        with translated(self.path), closing(look.problems()) as problems:
            yield from problems

    def repair(
        self, *, drop_damaged: bool = False, advance: Callable[[int], None] | None = None
    ) -> Sequence[str]:
        """Rebuild what can be rebuilt: keys, full-text search, digests, sums. One transaction.

        Args:
            drop_damaged: remove documents whose chunks or modulations are damaged. Otherwise they
                are left, marked as changed, so that ingesting them again replaces them.
            advance: as for `verify`, which is done first.

        Returns:
            the sources of the damaged documents.

        Raises:
            StoreError: no permission to write, or no space left.
        """
        from store import repair

        found = repair.damage(self.verify(advance))
        if not found.kinds:
            return []
        with translated(self.path):
            with synchronous(self._connection), writing(self._connection):
                sources = repair.repair(
                    self._connection,
                    self._key_block,
                    self._views.tokens,
                    found,
                    drop=drop_damaged,
                )
            self._key_block.clean()
        return sources

    def space(self) -> Space:
        """How much space `vacuum` would give back at least."""
        from store import vacuum

        with translated(self.path), reading(self._connection):
            return vacuum.measure(self._connection, self.path)

    def vacuum(self) -> int:
        """Give back the space of what was removed. Returns the bytes by which the store shrank.

        What is only there to undo prunes goes with it, and copies of the index from before a
        migration. After a crash at any moment the store answers as before.

        Raises:
            StoreError: no permission to write, or not enough space for the work.
        """
        from store import vacuum

        before = self.space().total
        with translated(self.path):
            vacuum.check_space(self._connection, self.path)
        self.forget_pruned()
        with translated(self.path):
            with synchronous(self._connection), writing(self._connection):
                self._key_block.rewrite()
            with writing(self._connection):
                # Under the write lock, so that no file is one that another process just makes.
                for path in vacuum.needless(self.path, self._key_block.generation()):
                    path.unlink(missing_ok=True)
            vacuum.compact_index(self._connection)
        return before - self.space().total

    def copy(self, to: Path) -> None:
        """Copy the store, as it is now, into the folder `to`, which appears when it is whole.

        Raises:
            StoreError: `to` is there and is not an empty folder, or there is not enough space.
        """
        to = to.absolute()
        if to.exists() and (not to.is_dir() or any(to.iterdir())):
            raise StoreError(
                f"{to} is there already",
                hint="Give the path of a folder that does not exist yet.",
            )
        with translated(to):
            to.parent.mkdir(parents=True, exist_ok=True)
            partial = to.with_name(f".{to.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            try:
                copy_database(self._connection, partial / INDEX_NAME)
                self._copy_keys(partial)
                sync_folder(partial)
                os.replace(partial, to)
                sync_folder(to.parent)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise

    def _copy_keys(self, to: Path) -> None:
        """Copy the key file that belongs to the index in the folder `to`, or make it anew.

        A graph of its keys goes with it.
        """
        from store.bank import Store

        with Store.open(to) as copy:
            generation = copy._key_block.generation()
            for prefix in (KEY_PREFIX, GRAPH_PREFIX):
                name = f"{prefix}{generation:06d}.bin"
                if (self.path / name).is_file():  # else: compacted meanwhile, or it went missing
                    require_space(to, (self.path / name).stat().st_size)
                    shutil.copyfile(self.path / name, to / name)
                    sync_file(to / name)
            # Reading the keys to the end writes the file anew if it cannot be used.
            deque(copy.keys(), maxlen=0)

    def export(self, file: IO[bytes], advance: Callable[[int], None] | None = None) -> None:
        """Write the whole store, as it is now, to a stream; see docs/store-format.md.

        Args:
            file: is written from the beginning to the end.
            advance: called with the number of chunks written since the last call.

        Raises:
            StoreCorruptError: a modulation is damaged.
            StoreError: a chunk is too large for the format.
            OSError: of the stream.
        """
        from store import exporting
        from store.codec import BlobError

        try:
            with self.snapshot():
                exporting.write(file, self._connection, self._views, self._identity, advance)
        except BlobError as error:
            raise corrupt(self.path, str(error)) from error

    def load(self, export: ExportFile, policy: Policy = "replace") -> Imported:
        """Take in what another store exported, each document in a transaction of its own.

        A document that is there in the same state is left alone, so that an import that was cut
        short is completed by running it again.

        Args:
            export: is read to the end.
            policy: "replace" documents of the same source, or "skip" them.

        Raises:
            ExportFormatError: the file is damaged; the documents before the damage are kept.
            FingerprintMismatchError: another checkpoint wrote the exported store.
        """
        from store import importing

        importing.check(export, self._identity)
        with translated(self.path):
            done = importing.load(export, self._connection, self._views, self._key_block, policy)
        if done.many_dead:
            self._rewrite_keys()
        return done

    def adopt(self, draft: Store) -> bool:
        """Put the chunks of a store of the same documents in the place of this one's.

        This store then is one of the draft's checkpoint; what else is known of its documents stays.
        It happens in one transaction. Afterwards both are to be closed.

        Returns:
            whether it was done: not if the draft lacks a document, or has it with another content.

        Raises:
            StoreError: no permission to write, or not enough space.
        """
        from store import rebuilding
        from store.keyblock import KeyBlock

        keys = KeyBlock(self._connection, self.path, draft._codec, self._identity.store_id)
        with translated(self.path), rebuilding.attached(self._connection, draft.path):
            return rebuilding.adopt(self._connection, self.path, self._identity, keys)

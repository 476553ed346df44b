"""Making a store smaller, at a cost in answers that can be measured, and taking that back.

Three of the strategies are the paper's (arXiv 2403.04317), as far as they fit modulations that have
keys and lengths of their own: `random` drops, `average` averages random pairs and `nn-average`
nearest neighbours. `merge` puts nearest neighbours together, joins tokens that are alike and makes
the rest coarser, until their bytes are the share that is wanted (see merge.py). `usage` drops what
answers drew on least.

Who averages or merges keeps every chunk's own key, and for each of its tokens which latents now
stand for it (see views.py): about 0.9 kB a chunk with keys of 384 numbers, against 6 to 12 kB of
latents. So a chunk is found and named exactly as before, and read with its own tokens in their own
places. One mean key for all would save little and lose what finds the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from store import prunes
from store.database import reading, synchronous, writing
from store.errors import StoreError, corrupt, forbidden, translated
from store.keyblock import discard
from store.opening import now
from store.prunes import Prune
from store.reader import Reader

if TYPE_CHECKING:
    from store.plan import Bank
    from store.spool import Spool
    from store.target import Target

Strategy = Literal["random", "average", "nn-average", "merge", "usage"]
STRATEGIES: tuple[Strategy, ...] = ("random", "average", "nn-average", "merge", "usage")
_DROPPING = ("random", "usage")


class Pruning(Reader):
    """What shrinks a store; see `store.bank.Store`."""

    def prune(
        self,
        strategy: Strategy,
        target: Target,
        *,
        seed: int = 0,
        dry_run: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Prune:
        """Leave fewer modulations, in one transaction. `undo` takes it back until `forget_pruned`.

        Documents that are added, changed or removed while modulations are being merged are left
        out of it, with what they were to be merged with.

        Args:
            strategy: see the module.
            target: what is to be left.
            seed: of what is left to chance.
            dry_run: only say what would be done; the size after a merge is then an estimate.
            progress: told how many merged modulations are made, and of how many.

        Raises:
            StoreError: the target is smaller than one modulation; no permission to write.
            StoreCorruptError: a modulation is damaged.
            ValueError: there is no such strategy.
        """
        if strategy not in STRATEGIES:
            raise ValueError(f"unknown strategy {strategy!r}; one of {', '.join(STRATEGIES)}")
        if not dry_run:
            self._check_writable()  # now, not after minutes of merging
        plan = Prune(now(), strategy, str(target), seed, 0, 0, 0, 0)
        if strategy in _DROPPING:
            return self._drop(plan, target, dry_run)
        return self._merge(plan, target, dry_run, progress or (lambda done, total: None))

    def undo(self) -> Prune | None:
        """Take back the last prune in one transaction, and return it; None if there is none.

        What it changed is again as it was, bit for bit. Documents that have been changed or removed
        since stay as they are now.
        """
        self._check_writable()
        with translated(self.path):
            # Old key files are deleted, so the switch to the new one must survive a power cut.
            with synchronous(self._connection), writing(self._connection):
                found = prunes.last(self._connection)
                if found is None:
                    return None
                number, prune = found
                if keys_change := bool(prunes.dropped_by(self._connection, number)):
                    self._key_block.rewrite(restoring=number)
                prunes.recount(self._connection, prunes.undo(self._connection, number))
            if keys_change:
                self._key_block.clean()
        return prune

    def undoable(self) -> Prune | None:
        """The prune that `undo` would take back; None if there is none."""
        with translated(self.path):
            found = prunes.last(self._connection)
        return found[1] if found else None

    def forget_pruned(self) -> int:
        """Delete what is only there to undo prunes, in one transaction. Returns its bytes.

        Tokens of merged modulations that only removed documents had are deleted with it. `vacuum`
        begins with this, and makes the file smaller too.
        """
        self._check_writable()
        with translated(self.path), writing(self._connection):
            freed, shrunk = prunes.forget(self._connection)
            if shrunk:
                freed += self._compact(shrunk)
        return freed

    def used(self, weights: Mapping[int, float]) -> None:
        """Count an answer for the chunks that it drew on: by id, each one's share of it.

        Never fails and never waits: where the store is read-only, or another process is writing,
        the answer is not counted.
        """
        if not (self.writable and weights) or self._connection.in_transaction:
            return
        with suppress(StoreError), translated(self.path):
            (wait,) = self._connection.execute("PRAGMA busy_timeout").fetchone()
            self._connection.execute("PRAGMA busy_timeout = 0")
            try:
                with writing(self._connection):
                    prunes.use(self._connection, weights.items(), now())
            finally:
                self._connection.execute(f"PRAGMA busy_timeout = {wait}")

    def _check_writable(self) -> None:
        if not self.writable:
            raise forbidden(self.path)

    def _drop(self, plan: Prune, target: Target, dry_run: bool) -> Prune:
        from store.plan import Bank, to_drop

        transaction = reading if dry_run else writing
        many_dead = False
        with translated(self.path), transaction(self._connection):
            bank = Bank.survey(self._connection)
            used = prunes.usage(self._connection) if plan.strategy == "usage" else None
            chosen = to_drop(bank, target, plan.seed, used)
            done = replace(
                plan,
                before=len(bank),
                after=len(bank) - len(chosen),
                bytes_before=bank.size,
                bytes_after=bank.size - int(bank.bytes[chosen].sum()),
            )
            if not dry_run and len(chosen):
                chunks = bank.chunks()
                ids = sorted(chunk for index in chosen for chunk in chunks[index])
                prunes.drop(self._connection, prunes.begin(self._connection, done), ids)
                prunes.recount(self._connection, ids)
                many_dead = discard(self._connection, ids)
        if many_dead:
            self._rewrite_keys()
        return done

    def _merge(
        self, plan: Prune, target: Target, dry_run: bool, progress: Callable[[int, int], None]
    ) -> Prune:
        from store.plan import Bank, estimate, fitting
        from store.spool import Spool

        with translated(self.path), Spool(self.path) as spool:
            # Of one state, and without the write lock: it can take minutes.
            with reading(self._connection):
                bank = Bank.survey(self._connection)
                done = replace(
                    plan,
                    before=len(bank),
                    after=len(bank),
                    bytes_before=bank.size,
                    bytes_after=bank.size,
                )
                left = target.modulations(len(bank)) if len(bank) else 0
                if left is None:
                    left = fitting(bank, target, self.key_size)
                if left == len(bank):
                    return done
                if dry_run:
                    size = estimate(bank, left, self.key_size)
                    return replace(done, after=left, bytes_after=size)
                self._make(bank, done, left, target, spool, progress)
            with writing(self._connection):
                return self._take_in(bank, done, spool)

    def _make(
        self,
        bank: Bank,
        plan: Prune,
        left: int,
        target: Target,
        spool: Spool,
        progress: Callable[[int, int], None],
    ) -> None:
        """Merge until `left` modulations are left, and until the size is reached, if one is set."""
        import numpy as np

        from store.codec import BlobError
        from store.plan import fewer, groups, merged, vectors

        while True:
            means = None
            if plan.strategy != "average":
                means = vectors(bank, self.keys(), self.key_size)
            averaged = plan.strategy != "merge"
            chosen = groups(bank, left, plan.seed, means)
            if averaged:
                chosen = [group for group in chosen if len(group) > 1]
            try:
                for done, one in enumerate(
                    merged(
                        self._connection,
                        self._views,
                        bank,
                        chosen,
                        averaged=averaged,
                    ),
                    start=1,
                ):
                    spool.add(one)
                    progress(done, len(chosen))
            except BlobError as error:
                raise corrupt(self.path, str(error)) from error
            touched = np.concatenate([np.array(group) for group in chosen])
            size = bank.size - int(bank.bytes[touched].sum()) + spool.size
            if target.size is None or size <= target.size:
                return
            left = fewer(bank, target, self.key_size, left, size)
            spool.clear()

    def _take_in(self, bank: Bank, plan: Prune, spool: Spool) -> Prune:
        from store.plan import Bank

        present = Bank.survey(self._connection)
        merged = iter(spool)
        if not present.same(bank):
            # Others have written meanwhile: merge only what is as it was when it was read.
            before = dict(zip(bank.ids.tolist(), bank.merged.tolist(), strict=True))
            after = dict(zip(present.ids.tolist(), present.merged.tolist(), strict=True))
            merged = (
                one
                for one in spool
                if all(after.get(chunk, -1) == before[chunk] for chunk in one.members)
            )
        plan = replace(plan, before=len(present), bytes_before=present.size)
        number = prunes.begin(self._connection, plan)
        prunes.recount(self._connection, prunes.take_in(self._connection, number, merged))
        now_there = Bank.survey(self._connection)
        prunes.finish(self._connection, number, len(now_there), now_there.size)
        return replace(plan, after=len(now_there), bytes_after=now_there.size)

    def _compact(self, merged_ids: list[int]) -> int:
        """Take tokens out of merged modulations that are nobody's any more; how many bytes."""
        from store.codec import BlobError
        from store.plan import compacted

        freed = 0
        changed: list[int] = []
        for merged_id in merged_ids:
            chunks, size = prunes.shared_by(self._connection, merged_id)
            try:
                one = compacted(self._connection, self._views, merged_id, chunks)
            except BlobError as error:
                raise corrupt(self.path, str(error)) from error
            prunes.replace(self._connection, merged_id, one)
            changed += chunks
            freed += size - len(one.data) - sum(map(len, one.members.values()))
        prunes.recount(self._connection, changed)
        return freed

"""Making a store smaller, at a cost in answers that can be measured, and taking that back.

Three of the strategies are the paper's (arXiv 2403.04317), as far as they fit modulations that have
keys and lengths of their own: `random` drops, `average` averages random pairs and `nn-average`
nearest neighbours. `merge` puts nearest neighbours together, joins tokens that are alike and makes
the rest coarser, until their bytes are the share that is wanted (see merge.py). `usage` drops what
answers drew on least.

Averaging and merging keep every chunk's key, and record for each of its tokens which latents now
stand for it (see modulations/shared.py). So a chunk is found and named exactly as before, and read
with its own tokens in their own places. One mean key for all would save little, and the chunk that
answers a question would no longer be found.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

from store.errors import corrupt, forbidden, translated
from store.index import keys
from store.index.connection import now, reading, synchronous, writing
from store.pruning import records
from store.pruning.records import PruneRecord

if TYPE_CHECKING:
    from store.pruning.decide import Inventory
    from store.pruning.spool import Spool
    from store.pruning.target import Target
    from store.records import Advance
    from store.store import Store

Strategy = Literal["merge", "nn-average", "average", "usage", "random"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
"""The names of all strategies, the default first."""
_DROPPING = ("random", "usage")


def prune(
    store: Store,
    strategy: Strategy,
    target: Target,
    *,
    seed: int = 0,
    dry_run: bool = False,
    progress: Advance | None = None,
) -> PruneRecord:
    """Leave fewer modulations, in one transaction. `undo` takes it back until `forget`.

    Documents that are added, changed or removed while modulations are being merged are left out of
    it, with what they were to be merged with.

    Args:
        store: the store.
        strategy: see the module.
        target: what is left.
        seed: the random seed.
        dry_run: only return what would be done; the size after a merge is then an estimate.
        progress: called with the number of merged modulations computed since the last call.

    Raises:
        StoreError: the target is smaller than one modulation; no permission to write.
        StoreCorruptError: a modulation is damaged.
        ValueError: there is no such strategy.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"unknown strategy {strategy!r}; one of {', '.join(STRATEGIES)}")
    if not dry_run:
        _check_writable(store)  # now, not after minutes of merging
    plan = PruneRecord(now(), strategy, str(target), seed, 0, 0, 0, 0)
    if strategy in _DROPPING:
        return _drop(store, plan, target, dry_run)
    return _merge(store, plan, target, dry_run, progress or (lambda _: None))


def undo(store: Store) -> PruneRecord | None:
    """Take back the last prune in one transaction, and return it; None if there is none.

    What it changed is again as it was, bit for bit. Documents that have been changed or removed
    since stay as they are now.

    Raises:
        StoreError: no permission to write.
    """
    _check_writable(store)
    with translated(store.path), writing(store.connection):
        last = records.last(store.connection)
        if last is None:
            return None
        number, record = last
        records.recount(store.connection, records.undo(store.connection, number))
    return record


def undoable(store: Store) -> PruneRecord | None:
    """Return the prune that `undo` would take back; None if there is none."""
    with translated(store.path):
        last = records.last(store.connection)
    return last[1] if last else None


def forget(store: Store) -> int:
    """Delete what serves only to undo prunes, in one transaction, and return its bytes.

    After that `undo` finds nothing to take back.

    Tokens of merged modulations that only removed documents had are deleted with it. `vacuum`
    begins with this, and makes the file smaller too.

    Raises:
        StoreError: no permission to write.
        StoreCorruptError: a merged modulation is damaged.
    """
    _check_writable(store)
    with translated(store.path), synchronous(store.connection), writing(store.connection):
        freed, shrunk = records.forget(store.connection)
        if shrunk:
            freed += _compact(store, shrunk)
        many_dead = keys.worth_compacting(store.connection)  # dropped chunks' keys are useless now
    if many_dead:
        store.compact_keys()
    return freed


def _check_writable(store: Store) -> None:
    if not store.writable:
        raise forbidden(store.path)


def _drop(store: Store, plan: PruneRecord, target: Target, dry_run: bool) -> PruneRecord:
    from store.pruning.decide import Inventory, to_drop

    connection = store.connection
    transaction = reading if dry_run else writing
    with translated(store.path), transaction(connection):
        inventory = Inventory.take(connection)
        used = records.usage(connection) if plan.strategy == "usage" else None
        chosen = to_drop(inventory, target, plan.seed, used)
        record = replace(
            plan,
            before=len(inventory),
            after=len(inventory) - len(chosen),
            bytes_before=inventory.size,
            bytes_after=inventory.size - int(inventory.bytes[chosen].sum()),
        )
        if not dry_run and len(chosen):
            chunks = inventory.chunks()
            ids = sorted(chunk for index in chosen for chunk in chunks[index])
            records.drop(connection, records.begin(connection, record), ids)
            records.recount(connection, ids)
    return record


def _merge(
    store: Store, plan: PruneRecord, target: Target, dry_run: bool, progress: Advance
) -> PruneRecord:
    from store.pruning.decide import Inventory, estimate, fitting
    from store.pruning.spool import Spool

    connection = store.connection
    with translated(store.path), Spool(store.path) as spool:
        # One state of the store is read, without the write lock: merging can take minutes.
        with reading(connection):
            inventory = Inventory.take(connection)
            record = replace(
                plan,
                before=len(inventory),
                after=len(inventory),
                bytes_before=inventory.size,
                bytes_after=inventory.size,
            )
            left = target.modulations(len(inventory)) if len(inventory) else 0
            if left is None:
                left = fitting(inventory, target)
            if left == len(inventory):
                return record
            if dry_run:
                return replace(record, after=left, bytes_after=estimate(inventory, left))
            _compute(store, inventory, record, left, target, spool, progress)
        with writing(connection):
            return _write(store, inventory, record, spool)


def _compute(
    store: Store,
    inventory: Inventory,
    plan: PruneRecord,
    left: int,
    target: Target,
    spool: Spool,
    progress: Advance,
) -> None:
    """Merge until `left` modulations are left, and until the size is reached, if one is set."""
    import numpy as np

    from store.modulations.codec import BlobError
    from store.pruning.decide import fewer, groups, merged, vectors

    while True:
        means = None
        if plan.strategy != "average":
            means = vectors(inventory, store.keys(), store.key_size)
        averaged = plan.strategy != "merge"
        chosen = groups(inventory, left, plan.seed, means)
        if averaged:
            chosen = [group for group in chosen if len(group) > 1]
        try:
            for modulation in merged(
                store.connection, store.codec, inventory, chosen, averaged=averaged
            ):
                spool.add(modulation)
                progress(1)
        except BlobError as error:
            raise corrupt(store.path, str(error)) from error
        touched = np.concatenate([np.array(group) for group in chosen])
        size = inventory.size - int(inventory.bytes[touched].sum()) + spool.size
        if target.size is None or size <= target.size:
            return
        left = fewer(inventory, target, left, size)
        spool.clear()


def _write(store: Store, inventory: Inventory, plan: PruneRecord, spool: Spool) -> PruneRecord:
    """Put the merged modulations in the place of what they were made of."""
    from store.pruning.decide import Inventory

    connection = store.connection
    present = Inventory.take(connection)
    merged = iter(spool)
    if not present.same(inventory):
        # Other processes have written meanwhile: merge only what is as it was when it was read.
        before = dict(zip(inventory.ids.tolist(), inventory.merged.tolist(), strict=True))
        after = dict(zip(present.ids.tolist(), present.merged.tolist(), strict=True))
        merged = (
            modulation
            for modulation in spool
            if all(after.get(chunk, -1) == before[chunk] for chunk in modulation.members)
        )
    plan = replace(plan, before=len(present), bytes_before=present.size)
    number = records.begin(connection, plan)
    records.recount(connection, records.share(connection, number, merged))
    final = Inventory.take(connection)
    records.finish(connection, number, len(final), final.size)
    return replace(plan, after=len(final), bytes_after=final.size)


def _compact(store: Store, merged_ids: list[int]) -> int:
    """Take tokens that no chunk has any more out of merged modulations; return how many bytes."""
    from store.modulations.codec import BlobError
    from store.pruning.decide import compacted

    freed = 0
    changed: list[int] = []
    for merged_id in merged_ids:
        chunks, size = records.shared_by(store.connection, merged_id)
        try:
            modulation = compacted(store.connection, store.codec, merged_id, chunks)
        except BlobError as error:
            raise corrupt(store.path, str(error)) from error
        records.replace(store.connection, merged_id, modulation)
        changed += chunks
        freed += size - len(modulation.data) - sum(map(len, modulation.members.values()))
    records.recount(store.connection, changed)
    return freed

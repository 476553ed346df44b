"""Searching a large bank without reading all of its keys; see graph.py. n: keys, E: key size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from store.database import GRAPH_PREFIX, reading, writing
from store.errors import StoreCorruptError, StoreError, translated
from store.keyblock import read_state
from store.records import Indexed
from store.upkeep import Upkeep

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from store.graph import Graph
    from store.keys import Block
    from store.verify import Problem

_BLOCK = 4096


class Approximate(Upkeep):
    """What finds near keys without reading all; see `store.bank.Store`."""

    _opened: Graph | None = None

    def indexed(self) -> Indexed | None:
        """What the store's graph covers; None if there is none that fits its keys."""
        with translated(self.path), reading(self._connection):
            graph = self._graph()
            if graph is None:
                return None
            rows = read_state(self._connection).rows
        return Indexed(graph.number, rows - graph.origin.end.rows, graph.size)

    def index_keys(
        self, *, threads: int = 1, advance: Callable[[int], None] | None = None
    ) -> Indexed:
        """Make the graph that `near_keys` needs, or put into it what has been added since.

        The store can be read and written meanwhile; only while the file is written, writers wait.
        A store without keys gets none.

        Args:
            threads: to work with. With more than one, chance decides which graph comes out.
            advance: called with the number of keys put in since the last call.

        Raises:
            ModuleNotFoundError: usearch is not installed.
            StoreError: no permission to write, not enough space, the key file is damaged, or it was
                compacted meanwhile.
        """
        from store import graph
        from store.keys import NOTHING, Behind, DamagedKeysError

        self._check_writable()
        last = 0

        def noting(blocks: Iterable[Block]) -> Iterator[Block]:
            nonlocal last
            for ids, keys in blocks:
                last = int(ids[-1])
                yield ids, keys

        with translated(self.path):
            with reading(self._connection):
                state = read_state(self._connection)
                if not state.rows:
                    return Indexed(0, 0, 0)
                known = self._graph()
                if known is not None and not known.intact():
                    known = None
                if known is not None and known.origin.end.rows == state.rows:
                    return Indexed(known.number, 0, known.size)
                begun = known.origin.end if known else NOTHING
                blocks = self._key_block.in_file(_BLOCK, begun)
            last = begun.last_id
            try:
                made = graph.make(
                    self.key_size,
                    noting(blocks),
                    known=known,
                    threads=threads,
                    advance=advance or (lambda _: None),
                )
            except DamagedKeysError as error:
                raise StoreError(
                    f"The key file is damaged: {error}", hint="mac store verify --repair mends it."
                ) from error
            end = Behind(state.rows, state.tail, last)
            origin = graph.Origin(self.key_size, state.generation, self._identity.store_id, end)
            path = self._graph_path(state.generation)
            with writing(self._connection):
                if read_state(self._connection).generation != state.generation:
                    raise StoreError(
                        f"The keys of {self.path} were compacted meanwhile",
                        hint="Run the same command again.",
                    )
                graph.write(path, made, origin)
                later = read_state(self._connection).rows - state.rows
                return Indexed(len(made), later, path.stat().st_size)

    def drop_index(self) -> bool:
        """Delete the graph, and what unfinished ones left. Returns whether there was any.

        Raises:
            StoreError: no permission to write.
        """
        self._check_writable()
        with translated(self.path), writing(self._connection):
            paths = list(self.path.glob(f"{GRAPH_PREFIX}*"))
            for path in paths:
                path.unlink(missing_ok=True)
        return bool(paths)

    def near_keys(
        self,
        query: NDArray[np.float32],
        number: int,
        also: Iterable[int] = (),
        *,
        block: int = 16384,
    ) -> Iterator[Block]:
        """The keys among which those with the largest product with `query` very likely are.

        They are what the graph proposes, in the first blocks, and all that have been added since it
        was made. Without a graph, or where `number` is no small part of the bank, they are simply
        all, as in `keys`.

        Args:
            query: float32 [E].
            number: how many the graph is to propose; a few times what is wanted.
            also: other chunks whose keys are wanted.
            block: at most so many keys at a time.

        Raises:
            ModuleNotFoundError: usearch is not installed.
        """
        with translated(self.path):
            with reading(self._connection):
                graph = self._graph()
                near = self._proposed(graph, query, number, also) if graph else None
            if graph is None or near is None:
                yield from self.keys(block)
                return
            yield from near
            yield from self._key_block.blocks(block, graph.origin.end)

    def verify(self, advance: Callable[[int], None] | None = None) -> Iterator[Problem]:
        """As `Upkeep.verify`, and whether the graph is whole and holds the keys that it should."""
        from store.verify import Problem

        yield from super().verify(advance)
        if what := self._graph_problem():
            yield Problem("graph", f"The index for approximate search {what}", "index")

    def repair(
        self, *, drop_damaged: bool = False, advance: Callable[[int], None] | None = None
    ) -> Sequence[str]:
        """As `Upkeep.repair`; a damaged graph is deleted."""
        sources = super().repair(drop_damaged=drop_damaged, advance=advance)
        if self._graph_problem():
            self.drop_index()
        return sources

    def vacuum(self) -> int:
        """As `Upkeep.vacuum`; a graph, which would not fit the compacted keys, is made anew."""
        before = self.space().total
        indexed = self.indexed() is not None
        super().vacuum()
        if indexed:
            with suppress(ModuleNotFoundError):
                self.index_keys()
        return before - self.space().total

    def _proposed(
        self, graph: Graph, query: NDArray[np.float32], number: int, also: Iterable[int]
    ) -> list[Block] | None:
        """The keys of what the graph proposes and of the others; None if it had better be all."""
        import numpy as np

        from store.graph import DamagedGraphError

        others = np.array([i for i in also if i <= graph.origin.end.last_id], np.int64)
        asked = number
        while 4 * asked <= graph.number:
            try:
                ids = graph.nearest(query, asked)
                found = list(self._key_block.picked(np.union1d(ids, others), _BLOCK))
            except (DamagedGraphError, StoreCorruptError):
                return None  # the key file may still be whole
            if sum(int(np.isin(there, ids).sum()) for there, _ in found) >= number:
                return found
            asked *= 4  # too many of them were removed
        return None

    def _graph(self) -> Graph | None:
        """The graph, if there is one that fits the keys as the caller's transaction sees them."""
        from store.graph import DamagedGraphError, Graph

        state = read_state(self._connection)
        path = self._graph_path(state.generation)
        try:
            status = path.stat()
        except OSError:
            return None
        if self._opened is None or not self._opened.is_file(path, status):
            try:
                self._opened = Graph(path)
            except DamagedGraphError:
                return None
        origin = self._opened.origin
        same = (origin.key_size, origin.generation, origin.store_id) == (
            self.key_size,
            state.generation,
            self._identity.store_id,
        )
        return self._opened if same and self._key_block.reaches(origin.end) else None

    def _graph_problem(self) -> str | None:
        """What is wrong with the graph of the valid key file; None if nothing, or there is none."""
        import numpy as np

        from store.graph import DamagedGraphError
        from store.keys import DamagedKeysError

        with translated(self.path), reading(self._connection):
            if not self._graph_path(read_state(self._connection).generation).exists():
                return None
            graph = self._graph()
            if graph is None:
                return "is damaged, or of another state of the store"
            if not graph.intact():
                return "is damaged: it is not what was written"
            last, missing = graph.origin.end.last_id, 0
            with suppress(ModuleNotFoundError, DamagedKeysError):
                try:
                    known = graph.ids()
                except DamagedGraphError as error:
                    return f"is damaged: {error}"
                for ids, _ in self._key_block.in_file(_BLOCK):
                    missing += int((~np.isin(ids[ids <= last], known)).sum())
        return f"lacks the keys of {missing:,} chunks" if missing else None

    def _graph_path(self, generation: int) -> Path:
        return self.path / f"{GRAPH_PREFIX}{generation:06d}.bin"

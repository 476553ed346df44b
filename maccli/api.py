"""The Python API: what `mac` does, as methods of one class."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from maccli import config
from maccli.errors import USAGE, MacError
from maccli.reading import files
from maccli.service import session
from maccli.service.ask import Answer, Mode, Options, ask
from maccli.service.ingest import Item, ingest, items_of
from maccli.service.report import Outcome, Report
from maccli.service.search import Passage, search
from maccli.service.session import Session, Tell
from maccli.service.sources import Source
from store.labels import Labels, Within, clean_tag
from store.records import Document, Stats
from store.store import Store

if TYPE_CHECKING:
    from models.memory.protocol import Progress
    from models.memory.relevance import Retriever
    from models.weights.carriers import Transfer
    from store.pruning.prune import Strategy
    from store.pruning.records import PruneRecord

__all__ = ["Answer", "Document", "Mac", "Outcome", "Passage", "Report", "Source", "Stats"]

Paths = str | Path | Iterable[str | Path]


class Mac:
    """A store of documents and the model that answers from it. A context manager.

    What is not given is taken from the environment (`MAC_STORE`, `MAC_MODEL`, ...), else from
    config.toml, else it has the default of the command line. Nothing is opened or loaded before it
    is needed.

        from maccli import Mac

        with Mac("./memory") as mac:
            mac.ingest("notes")
            answer = mac.ask("Who won the sailing race?")
            print(answer.answer, answer.sources[0].text)

    Every method may raise `MacError` (with `message` and `hint`), `StoreError` if the store cannot
    be used, and those that need the model `WeightsError` or another `ModelError`.

    Attributes:
        session: the store and the model.
    """

    def __init__(
        self,
        store: str | Path | None = None,
        model: str | Path | None = None,
        *,
        device: str | None = None,
        tell: Tell | None = None,
        transfer: Transfer | None = None,
    ) -> None:
        """Choose a store and a model.

        Args:
            store: the store's folder; it need not exist yet.
            model: a checkpoint, by its name or its folder.
            device: "auto", "cpu", "cuda" or "mps".
            tell: called with a few words about what takes a while, such as "loading the model".
            transfer: called while weights are downloaded: label, bytes so far, bytes in all.

        Raises:
            CheckpointError: there is no such model.
            MacError: a setting is wrong.
        """
        folder = None if store is None else str(store)
        place = session.place(
            config.folder("store", folder),
            config.text("model", None if model is None else str(model)),
            device=config.text("device", device),
            store_named=config.resolve("store", folder).origin != "default",
        )
        self.session = Session(place, transfer=transfer, tell=tell)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the store."""
        self.session.close()

    def ingest(
        self,
        paths: Paths | Sequence[Item],
        *,
        tags: Sequence[str] = (),
        untag: Sequence[str] = (),
        date: str | None = None,
        encoding: str | None = None,
        name: str | None = None,
        sync: bool = False,
        dry_run: bool = False,
        progress: Progress | None = None,
        on_outcome: Callable[[Outcome], None] | None = None,
    ) -> Report:
        """Add files to the store, update those that changed, and leave the others alone.

        Ctrl-C ends the work: what was written is kept, and the same call finishes it.

        Args:
            paths: files, globs and folders, which are taken with everything in them; "-" is
                standard input. Or what `maccli.service.ingest.items_of` has made of such paths.
            tags: given to every document.
            untag: taken away from every document.
            date: given to every document, YYYY-MM-DD; "" takes it away.
            encoding: of every file; None finds it out.
            name: the document's name in the store, if there is just one.
            sync: follow folders: also remove the documents whose files are gone from them. If so
                many are gone that it looks like an accident, they stay and are `Report.held`.
            dry_run: only report what would be done.
            progress: is advanced by the bytes of the files.
            on_outcome: called with what became of each file as soon as it is known.

        Raises:
            ValueError: a tag or a date is not valid.
        """
        labels = Labels(_clean(tags), _clean(untag), date)
        items: list[Item] = []
        names: list[str] = []
        for item in [paths] if isinstance(paths, (str, Path)) else paths:
            if isinstance(item, (str, Path)):
                names.append(str(item))
            else:
                items.append(item)
        if sync:
            if items or name is not None:
                raise MacError("sync takes folders, and no name.", exit_code=USAGE)
            from maccli.service import sync as following

            return following.sync(
                self.session,
                following.survey(self.session, names),
                encoding=encoding,
                labels=labels,
                dry_run=dry_run,
                progress=progress,
                tell=on_outcome,
            )
        items += items_of(names, name)
        if name is not None and len(items) != 1:
            raise MacError(f"A name is for one document, not for {len(items)}.", exit_code=USAGE)
        return ingest(
            self.session,
            items,
            encoding=encoding,
            name=name,
            labels=labels,
            dry_run=dry_run,
            progress=progress,
            tell=on_outcome,
        )

    def ask(
        self,
        question: str,
        *,
        k: int | None = None,
        retriever: Retriever | None = None,
        mode: Mode = "mac",
        tags: Sequence[str] = (),
        since: str | None = None,
        until: str | None = None,
        max_new_tokens: int | None = None,
        on_text: Callable[[str], None] | None = None,
    ) -> Answer:
        """Answer a question from the store, with the sentences that the answer came from.

        Args:
            question: one or several lines.
            k: how many passages to draw from.
            retriever: how they are found: "hybrid", "dense" or "bm25".
            mode: answer from the modulations ("mac"), from the texts in the prompt ("rag"), or from
                nothing ("closed-book").
            tags: draw only from documents with at least one of these tags.
            since: draw only from documents of that day or later, YYYY-MM-DD.
            until: draw only from documents of that day or earlier.
            max_new_tokens: the longest answer.
            on_text: called with each piece of the answer as soon as it is known.

        Raises:
            MacError: the question is empty or too long, or there is nothing in the store (its
                `exit_code` is then 3); nothing is loaded then.
            ValueError: a tag or a date is not valid.
        """
        options = Options(
            k=config.number("k", k),
            retriever=_retriever(retriever),
            mode=mode,
            max_new_tokens=config.number("max_new_tokens", max_new_tokens) or 1,
            within=Within(_clean(tags), since, until),
        )
        return ask(self.session, question, options, on_text=on_text)

    def search(
        self,
        question: str,
        *,
        k: int | None = None,
        retriever: Retriever | None = None,
        tags: Sequence[str] = (),
        since: str | None = None,
        until: str | None = None,
    ) -> list[Passage]:
        """Return the passages that a question would be answered from, the most relevant first.

        No language model is loaded. Arguments and errors as for `ask`.
        """
        return search(
            self.session,
            question,
            k=config.number("k", k),
            retriever=_retriever(retriever),
            within=Within(_clean(tags), since, until),
        )

    def documents(
        self,
        *,
        match: str | None = None,
        limit: int | None = None,
        tags: Sequence[str] = (),
        since: str | None = None,
        until: str | None = None,
    ) -> Iterator[Document]:
        """Yield the documents in the order of their names; none if there is no store.

        Args:
            match: with `*` or `?` a pattern for the whole name, else a part of name or title.
            limit: at most that many.
            tags: only documents with at least one of these tags.
            since: only documents of that day or later, YYYY-MM-DD.
            until: only documents of that day or earlier.

        Raises:
            ValueError: a tag or a date is not valid.
        """
        within = Within(_clean(tags), since, until)
        store = self.session.store
        if store is not None:
            yield from store.documents(match=match, limit=limit, within=within)

    def remove(self, source: str | Path) -> bool:
        """Remove a document, given by its name in the store or by a path. Returns if it existed."""
        store = self.session.store
        if store is None:
            return False
        return store.remove(str(source)) or store.remove(files.source_name(source))

    def prune(
        self, strategy: Strategy = "merge", to: str = "50%", *, seed: int = 0, dry_run: bool = False
    ) -> PruneRecord:
        """Make the store smaller.

        Args:
            strategy: how to shrink, see `store.pruning`.
            to: what is left: a share (50%), a number of modulations (2000) or a size (20MB).
            seed: of strategies that choose at random.
            dry_run: only return what would be done.

        Raises:
            MacError: there is no store.
            ValueError: there is no such strategy, or `to` cannot be read.
        """
        from store.pruning import prune
        from store.pruning.target import Target

        return prune.prune(self._store(), strategy, Target.parse(to), seed=seed, dry_run=dry_run)

    def undo_prune(self) -> None:
        """Take back the last prune.

        Raises:
            MacError: there is no store.
            StoreError: there is no prune to take back.
        """
        from store.pruning import prune

        prune.undo(self._store())

    def stats(self) -> Stats:
        """Return how much is in the store, and its sizes on disk.

        Raises:
            MacError: there is no store.
        """
        return self._store().stats()

    def _store(self) -> Store:
        store = self.session.store
        if store is None:
            raise MacError(
                f"There is no store in {self.session.place.store}.",
                "Ingest something first: mac ingest FILES",
            )
        return store


def _clean(tags: Sequence[str]) -> tuple[str, ...]:
    """Return tags as they are stored; a single string is one tag."""
    return tuple(dict.fromkeys(map(clean_tag, [tags] if isinstance(tags, str) else tags)))


def _retriever(given: Retriever | None) -> Retriever:
    return config.text("retriever", given)  # type: ignore[return-value]  # checked by the config

"""The Python API: what `mac` does, as methods of one class."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from maccli import config
from maccli.bank import Bank, clean_tags
from maccli.errors import USAGE, MacError
from maccli.reading.items import Piped, items_of
from maccli.service import session
from maccli.service.ask import Answer, Mode, Options, ask
from maccli.service.ingest import ingest
from maccli.service.moving import export_adapter
from maccli.service.report import Outcome, Report
from maccli.service.search import Passage, search
from maccli.service.session import Session, Tell
from maccli.service.sources import Source
from models.memory import checkpoint
from store import log
from store.errors import StoreError
from store.labels import Labels, Within
from store.records import Document, Stats

if TYPE_CHECKING:
    from models.memory.protocol import Progress
    from models.memory.relevance import Retriever
    from models.text.prompts import History
    from models.weights.carriers import Transfer

__all__ = ["Answer", "Document", "Mac", "Outcome", "Passage", "Report", "Source", "Stats"]

Paths = str | Path | Piped | Iterable[str | Path | Piped]


class Mac(Bank):
    """A store of documents and the model that answers from it. A context manager.

    What is not given is taken from the environment (`MAC_STORE`, `MAC_MODEL`, ...), config.toml or
    the defaults of the command line. Nothing is opened or loaded before it is needed.

        from maccli import Mac

        with Mac("./memory") as mac:
            mac.ingest("notes")
            answer = mac.ask("Who won the sailing race?")
            print(answer.answer, answer.sources[0].text)

    Every method may raise `MacError` (with `message` and `hint`), `StoreError` if the store cannot
    be used, and those that need the model `WeightsError` or another `ModelError`. `ingest`, `ask`,
    `search` and `export_adapter` need the model that wrote the store; all others work with any.

    Attributes:
        folder: the store's folder, which need not exist yet; of addresses alone the default one.
        asked: the folders and addresses of the stores that are asked.
    """

    def __init__(
        self,
        store: str | Path | None = None,
        model: str | Path | None = None,
        *,
        also: Sequence[str | Path] = (),
        device: str | None = None,
        tell: Tell | None = None,
        transfer: Transfer | None = None,
    ) -> None:
        """Choose a store and a model.

        Args:
            store: the store's folder; it need not exist yet. The address of a `mac serve`, as
                "http://nas:8642" or "http://nas:8642/NAME", can only be asked.
            model: a checkpoint, by its name or its folder.
            also: further stores, that are asked with it as if all were one.
            device: "auto", "cpu", "cuda" or "mps".
            tell: called with a few words about what takes a while, such as "loading the model".
            transfer: called while weights are downloaded: label, bytes so far, bytes in all.

        Raises:
            CheckpointError: there is no such model.
            MacError: a setting is wrong.
        """
        written, self.asked = config.stores(store, also)
        super().__init__(written)
        if model is not None:
            checkpoint.find(str(model))  # a wrong name is refused at once
        self._model = None if model is None else str(model)
        self._device = device
        self._tell = tell
        self._transfer = transfer

    def close(self) -> None:
        """Close the store."""
        if "session" in self.__dict__:
            self.session.close()
        super().close()

    @cached_property
    def session(self) -> Session:
        """The model and the store it wrote, each opened at the first use.

        Raises:
            CheckpointError: there is no such model.
            WeightsError: there is no such encoder, or it cannot be downloaded.
        """
        choice = session.store_and_model(
            self.folder,
            config.text("model", self._model),
            device=config.text("device", self._device),
            encoder=config.optional_text("encoder"),
            precision=config.optional_text("precision"),
            asked=self.asked,
            transfer=self._transfer,
        )
        return Session(choice, transfer=self._transfer, tell=self._tell)

    def ingest(
        self,
        paths: Paths,
        *,
        tags: Sequence[str] = (),
        untag: Sequence[str] = (),
        date: str | None = None,
        encoding: str | None = None,
        name: str | None = None,
        exclude: Sequence[str] = (),
        sync: bool = False,
        certain: bool = False,
        dry_run: bool = False,
        progress: Progress | None = None,
        on_size: Callable[[int], None] | None = None,
        on_outcome: Callable[[Outcome], None] | None = None,
    ) -> Report:
        """Add files to the store, update those that changed, and leave the others alone.

        Ctrl-C ends the work: what was written is kept, and the same call finishes it.

        Args:
            paths: files, globs, URLs and folders, which are taken with everything in them; "-" is
                standard input, a `Piped` is bytes that are at hand.
            tags: given to every document.
            untag: taken away from every document.
            date: given to every document, YYYY-MM-DD; "" takes it away.
            encoding: of every file; None finds it out.
            name: the document's name in the store, if there is just one.
            exclude: what is left out of folders and globs, as in .gitignore, after config.toml's.
            sync: follow folders: also remove the documents whose files are gone from them. If so
                many are gone that it looks like an accident, they stay and are `Report.held_back`.
            certain: with `sync`, remove them even then.
            dry_run: only report what would be done.
            progress: is advanced by the bytes of the files.
            on_size: called with the bytes of all files before the first is read.
            on_outcome: called with the result for each file as soon as it is known.

        Raises:
            ValueError: a tag or a date is not valid.
        """
        labels = Labels(clean_tags(tags), clean_tags(untag), date)
        given = [paths] if isinstance(paths, (str, Path, Piped)) else list(paths)
        piped = [path for path in given if isinstance(path, Piped)]
        names = [str(path) for path in given if not isinstance(path, Piped)]
        exclude = (*config.patterns("exclude"), *exclude)
        on_size = on_size or (lambda _: None)
        if sync:
            if name is not None or piped:
                raise MacError("sync takes folders, and no name.", exit_code=USAGE)
            from maccli.service import sync as following

            survey = following.survey(self.session, names, exclude)
            on_size(survey.size)
            return following.sync(
                self.session,
                survey,
                encoding=encoding,
                labels=labels,
                certain=certain,
                dry_run=dry_run,
                progress=progress,
                tell=on_outcome,
            )
        if name is not None and not name.strip():
            raise MacError("A name must not be empty.", exit_code=USAGE)
        items = [*items_of(names, name, exclude), *piped]
        if name is not None and len(items) != 1:
            raise MacError(f"A name is for one document, not for {len(items)}.", exit_code=USAGE)
        on_size(sum(item.size for item in items))
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

    def remove_held(
        self, report: Report, *, on_outcome: Callable[[Outcome], None] | None = None
    ) -> None:
        """Remove the documents that an ingest with `sync` has left as `Report.held_back`."""
        from maccli.service import sync as following

        following.remove_held_back(self.session, report, on_outcome)

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
        fast: bool = False,
        free: bool = False,
        history: History = (),
        on_text: Callable[[str], None] | None = None,
    ) -> Answer:
        """Answer a question from the store, with the sentences that the answer came from.

        An answer that is probably wrong is not given, see `Answer.outcome` and `probability`. The
        store keeps question and answer, unless the setting `log` is "off".

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
            fast: leave out the judge, which reads the passages together with the question.
            free: answer in the language model's own words, however likely they are right.
            history: the questions asked before, each with its answer ("" for none); where the
                question is a follow-up ("And how much was it?"), it is answered as one.
            on_text: called with the pieces of the answer, or with all of it if it was not known
                before its end whether it is given.

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
            within=Within(clean_tags(tags), since, until),
            fast=fast,
            free=free,
            history=history,
        )
        logged = config.text("log") == "on"  # a wrong setting is refused before the work
        answer = ask(self.session, question, options, on_text=on_text)
        if logged:
            _log(self.session, answer)
        return answer

    def search(
        self,
        question: str,
        *,
        k: int | None = None,
        retriever: Retriever | None = None,
        tags: Sequence[str] = (),
        since: str | None = None,
        until: str | None = None,
        fast: bool = False,
        history: History = (),
    ) -> list[Passage]:
        """Return the passages that a question would be answered from, the most relevant first.

        No language model is loaded. Arguments and errors as for `ask`.
        """
        return search(
            self.session,
            question,
            k=config.number("k", k),
            retriever=_retriever(retriever),
            within=Within(clean_tags(tags), since, until),
            fast=fast,
            history=history,
        )

    def export_adapter(
        self,
        question: str,
        folder: str | Path,
        *,
        k: int | None = None,
        tags: Sequence[str] = (),
        since: str | None = None,
        until: str | None = None,
    ) -> None:
        """Write the modulation that answers a question as an adapter for the peft library.

        Args:
            question: one or several lines.
            folder: a new or an empty one.
            k: how many passages to draw from; of the latent stack only 1 can be exported.
            tags: draw only from documents with at least one of these tags.
            since: draw only from documents of that day or later, YYYY-MM-DD.
            until: draw only from documents of that day or earlier.

        Raises:
            MacError: as for `ask`, and if nothing is relevant (its `exit_code` is 3, too) or
                something is in the folder.
            ValueError: a tag or a date is not valid.
            OSError: the folder cannot be written.
        """
        within = Within(clean_tags(tags), since, until)
        export_adapter(self.session, question, config.number("k", k), Path(folder), within)


def _log(session: Session, answer: Answer) -> None:
    """Keep an answer in the store's log, if there is a store and it can be written to."""
    # The source that says the answer comes first, as `mac ask` shows it.
    sources = sorted(answer.sources, key=lambda source: source.marked is None)
    with suppress(StoreError):  # another model's store, which is in no way of a closed-book answer
        if (store := session.store) is not None:
            log.record(
                store,
                question=answer.question,
                answer=answer.answer,
                outcome=answer.outcome,
                probability=answer.probability,
                model=answer.model,
                seconds=sum(answer.timings.values()),
                sources=[
                    log.LogSource(
                        *(source.source, source.heading, source.place, source.start, source.end),
                        weight=round(source.weight, 4),
                    )
                    for source in sources
                ],
            )


def _retriever(given: Retriever | None) -> Retriever:
    return config.text("retriever", given)  # type: ignore[return-value]  # checked by the config

"""A retriever for LangChain, package `langchain-core`.

from maccli.plugins.langchain import MacRetriever

documents = MacRetriever(k=5).invoke("Who coaches Greywick Rovers?")
"""

from __future__ import annotations

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from maccli.plugins.sharing import exclusive, opened


class MacRetriever(BaseRetriever):
    """Finds the passages that a question would be answered from, the most relevant first.

    The metadata of each document are the `source`, its `title`, the `heading` and `place` where
    the passage stands, `start` and `end` in the source's text, `score` (in nats) and `weight` (all
    weights add up to 1).

    Attributes:
        store: the store's folder; None takes that of the settings.
        model: a checkpoint, by its name or its folder; None takes that of the settings.
        k: how many passages; None for as many as the model was trained with.
    """

    store: str | None = None
    model: str | None = None
    k: int | None = None

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        """Return the passages.

        Raises:
            MacError: the question is empty or too long, or there is nothing in the store.
        """
        with exclusive(opened(self.store, self.model)) as mac:
            passages = mac.search(query, k=self.k)
        fields = ("source", "title", "heading", "place", "start", "end", "score", "weight")
        return [
            Document(
                passage.text,
                id=f"{passage.source}#{passage.chunk}",
                metadata={name: getattr(passage, name) for name in fields},
            )
            for passage in passages
        ]

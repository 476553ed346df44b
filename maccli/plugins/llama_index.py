"""A retriever for LlamaIndex, package `llama-index-core`.

from maccli.plugins.llama_index import MacRetriever

nodes = MacRetriever(k=5).retrieve("Who coaches Greywick Rovers?")
"""

from __future__ import annotations

from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from maccli.plugins.sharing import exclusive, opened


class MacRetriever(BaseRetriever):
    """Finds the passages that a question would be answered from, the most relevant first.

    The metadata of each node are the `source`, its `title`, and the `heading` and `place` where the
    passage stands; its score is in nats.
    """

    def __init__(
        self, store: str | None = None, model: str | None = None, k: int | None = None
    ) -> None:
        """Choose a store and a model.

        Args:
            store: the store's folder; None takes that of the settings.
            model: a checkpoint, by its name or its folder; None takes that of the settings.
            k: how many passages; None for as many as the model was trained with.
        """
        self._store = store
        self._model = model
        self._k = k
        super().__init__()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        """Return the passages.

        Raises:
            MacError: the question is empty or too long, or there is nothing in the store.
        """
        with exclusive(opened(self._store, self._model)) as mac:
            passages = mac.search(query_bundle.query_str, k=self._k)
        fields = ("source", "title", "heading", "place")
        return [
            NodeWithScore(
                node=TextNode(
                    id_=f"{passage.source}#{passage.chunk}",
                    text=passage.text,
                    start_char_idx=passage.start,
                    end_char_idx=passage.end,
                    metadata={name: getattr(passage, name) or "" for name in fields},
                ),
                score=passage.score,
            )
            for passage in passages
        ]

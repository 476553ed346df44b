"""The retriever for LangChain, with its core package."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from maccli.errors import MacError

from ..conftest import FakeMemory
from .conftest import BRIDGE

pytest.importorskip("langchain_core")

from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda

from maccli.plugins.langchain import MacRetriever

QUESTION = "Who opened the bridge?"


def test_passages_are_documents(stored: Path) -> None:
    first, second = MacRetriever().invoke(QUESTION)
    assert first.page_content == BRIDGE
    assert first.id == f"{stored / 'bridge.txt'}#0"
    score, weight = first.metadata.pop("score"), first.metadata.pop("weight")
    assert score > second.metadata["score"] and 0.5 < weight <= 1
    assert first.metadata == {
        "source": str(stored / "bridge.txt"),
        "title": None,
        "heading": "",
        "place": "line 1",
        "start": 0,
        "end": len(BRIDGE),
    }
    assert second.metadata["heading"] == "Prizes"


def test_in_a_chain_from_several_threads(stored: Path, tmp_path: Path) -> None:
    retriever = MacRetriever(store=str(tmp_path / "mac-home" / "store"), k=1)

    def texts(documents: list[Document]) -> str:
        return "\n".join(document.page_content for document in documents)

    chain = retriever | RunnableLambda(texts)
    prize = "# Prizes\n\nThe poetry prize went to Tomas Reyl."
    assert chain.batch([QUESTION, "poetry prize?"] * 3) == [BRIDGE, prize] * 3
    assert asyncio.run(chain.ainvoke(QUESTION)) == BRIDGE


def test_without_a_store(memory: FakeMemory) -> None:
    with pytest.raises(MacError, match="There is no store in"):
        MacRetriever().invoke(QUESTION)

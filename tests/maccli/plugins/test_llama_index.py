"""The retriever for LlamaIndex, with its core package."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from maccli.errors import MacError

from ..conftest import FakeMemory
from .conftest import BRIDGE

pytest.importorskip("llama_index.core")

from llama_index.core.schema import MetadataMode

from maccli.plugins.llama_index import MacRetriever

QUESTION = "Who opened the bridge?"


def test_passages_are_nodes(stored: Path) -> None:
    first, second = MacRetriever().retrieve(QUESTION)
    assert first.text == BRIDGE
    assert first.node.node_id == f"{stored / 'bridge.txt'}#0"
    assert first.get_score() > second.get_score()
    assert first.metadata == {
        "source": str(stored / "bridge.txt"),
        "title": "",
        "heading": "",
        "place": "line 1",
    }
    assert "heading: Prizes\nplace: line 3" in second.node.get_content(MetadataMode.LLM)


def test_asynchronously(stored: Path, tmp_path: Path) -> None:
    retriever = MacRetriever(store=str(tmp_path / "mac-home" / "store"), k=1)
    (node,) = asyncio.run(retriever.aretrieve(QUESTION))
    assert node.text == BRIDGE


def test_without_a_store(memory: FakeMemory) -> None:
    with pytest.raises(MacError, match="There is no store in"):
        MacRetriever().retrieve(QUESTION)

"""A model without networks: words are tokens, hashes of words are latents and keys."""

from __future__ import annotations

import io
import json
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from maccli import cli
from maccli.service import session
from maccli.service.session import Session, StoreAndModel
from models.memory import checkpoint
from models.memory.modulation import Modulation
from models.memory.relevance import RelevanceWeights

R, E = 4, 512
LEXICAL = RelevanceWeights(lexical=1.0)
WORD = re.compile(r"\w+")


class FakeStream:
    """Says how many documents it has seen, and attends to the question's words in them."""

    def __init__(self, pieces: Sequence[str], attention: Sequence[Any], prefix_tokens: int) -> None:
        self._pieces = iter(pieces)
        self.attention = attention
        self.prefix_tokens = prefix_tokens
        self.surprise = [0.5, 0.25]

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return next(self._pieces)


def _latent(word: str) -> list[int]:
    return [octet - 128 for octet in zlib.crc32(word.lower().strip(".,?!").encode()).to_bytes(R)]


def _words(text: str) -> list[re.Match[str]]:
    return list(re.finditer(r"\S+", text))


@dataclass
class FakeMemory:
    """Stands in for a loaded checkpoint; `calls` records what it was asked to do."""

    chunking: str = "sentence-2:20"
    config: Any = field(
        default_factory=lambda: SimpleNamespace(
            base_lm="fake-lm",
            chunk_tokens=20,
            latent_size=R,
            key_size=E,
            documents=3,
            abstain_below=0.1,
            confidence=None,
            judge=None,
            judge_weight=0.0,
            judge_prior=1.0,
            judge_confidence=None,
            encoder_sha256=None,
        )
    )
    relevance: RelevanceWeights = LEXICAL
    vocabulary: dict[str, int] = field(default_factory=dict)
    calls: list[tuple[str, int]] = field(default_factory=list)
    before_amortize: Callable[[Sequence[str]], None] = lambda texts: None
    batch_tokens: int = 10**9

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def amortize(self, texts: Sequence[str], contexts: Sequence[str] = ()) -> list[Modulation]:
        self.before_amortize(texts)
        self.calls.append(("amortize", len(texts)))
        return [
            Modulation(
                np.array([_latent(m.group()) for m in _words(text)], np.int8),
                np.ones(len(_words(text)), np.float16),
                self.encode_question(text).astype(np.float16),
            )
            for text in texts
        ]

    def encode_question(self, question: str) -> Any:
        vector = np.zeros(E, np.float32)
        for word in WORD.findall(question.lower()):
            place = self.vocabulary.setdefault(word, len(self.vocabulary))
            vector[place] += len(word) > 3
        return vector / max(1.0, float(np.linalg.norm(vector)))

    def question_likelihood(self, question: str, documents: Sequence[Any]) -> list[float]:
        self.calls.append(("look", len(documents)))
        asked = {tuple(_latent(word)) for word in WORD.findall(question)}
        return [float(len(asked & set(map(tuple, d.latents.tolist())))) for d in documents]

    def answer_likelihoods(
        self, question: str, answers: Sequence[str], selected: Sequence[Any]
    ) -> list[float]:
        self.calls.append(("likelihoods", len(answers)))
        return [-float(len(answer)) for answer in answers]

    def load(self) -> None:
        pass

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in _words(text)]

    def answer(self, question: str, selected: Sequence[Any], *, max_new_tokens: int) -> FakeStream:
        asked = {tuple(_latent(word)) for word in question.split() if len(word) > 3}
        attention = [
            s.spread(
                np.array([float(tuple(row) in asked) for row in s.latents.tolist()], np.float32)
            )
            for s in selected
        ]
        tokens = sum(len(s.latents) for s in selected)
        self.calls.append(("answer", len(selected)))
        return FakeStream([" An", " answer", f" from {len(selected)}."], attention, tokens)

    def answer_rag(self, question: str, texts: Sequence[str], *, max_new_tokens: int) -> FakeStream:
        return FakeStream([f"Read {len(texts)} texts."], [], 0)


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def make_checkpoint(folder: Path, **config: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / checkpoint.CONFIG).write_text(json.dumps({"base_lm": "fake-lm", **config}))
    (folder / checkpoint.WEIGHTS).write_bytes(b"weights")
    return folder


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeMemory:
    """The model that every session loads, whatever the checkpoint; `load` is among its calls."""
    fake = FakeMemory()

    def load(
        path: Path,
        *,
        device: str,
        progress: object,
        tell: Callable[[str], None] | None,
        encoder: object,
        precision: object,
    ) -> FakeMemory:
        fake.calls.append(("load", 1))
        if tell:
            tell("loading the model")
        return fake

    monkeypatch.setattr(session, "load_model", load)
    monkeypatch.setenv("MAC_MODEL", str(make_checkpoint(tmp_path / "checkpoint")))
    return fake


@pytest.fixture
def opened(memory: FakeMemory, tmp_path: Path) -> Iterator[Session]:
    """A session on an empty store."""
    choice = StoreAndModel(tmp_path / "store", tmp_path / "checkpoint", "checkpoint")
    with Session(choice) as session:
        yield session


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def mac(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run `mac` in this process: `mac("store", "ls")`."""

    def run(*args: str) -> Ran:
        capsys.readouterr()
        code = cli.run(args)
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Ran(code, captured.out, captured.err)

    return run


def pipe(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """What `mac` is to read from stdin."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def text(number: int) -> str:
    return f"Document {number} tells of things that happened in year {number}."


@pytest.fixture
def docs(work: Path) -> Path:
    """A folder of three documents."""
    folder = work / "docs"
    (folder / "deep").mkdir(parents=True)
    for n, name in enumerate(["a.txt", "b.txt", "deep/c.txt"]):
        (folder / name).write_text(text(n))
    return folder


@pytest.fixture
def stored(mac: Callable[..., Ran], work: Path, memory: FakeMemory) -> Path:
    """The working folder, with two ingested files."""
    (work / "bridge.txt").write_text("Varnholt is small. The bridge was opened by Ida Brandt.")
    (work / "prize.md").write_text("# Prizes\n\nThe poetry prize went to Tomas Reyl.")
    assert mac("ingest", "bridge.txt", "prize.md").code == 0
    return work


@pytest.fixture
def tiny(work: Path, monkeypatch: pytest.MonkeyPatch, build_memory: Any, tiny_llama: Path) -> Any:
    """A checkpoint of tiny networks, loaded once."""
    memory = build_memory(tiny_llama)
    memory.stack.save(work / "made")
    memory.fingerprint = checkpoint.fingerprint(work / "made")
    monkeypatch.setenv("MAC_MODEL", str(work / "made"))
    monkeypatch.setattr(session, "load_model", lambda *_, **__: memory)
    return memory

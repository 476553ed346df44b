"""The methods that are compared: what each answers from, and how that is found.

The table is plain data: neither torch nor the store is imported, so that help texts are quick.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

Reader = Literal[
    "nothing", "text", "prefix", "lora", "judge", "modulations", "both", "tuned", "qa-base"
]
RetrieverName = Literal["hybrid", "dense", "bm25", "oracle", "encoder"]

ALL: Final = "all"
"""In place of k: every chunk of the store."""
K = int | Literal["all"]

RATE = 1e-5
"""The learning rate of a method that tunes the model, where none is named."""


@dataclass(frozen=True, slots=True)
class Method:
    """A way to answer.

    Attributes:
        name: as the user writes it.
        reader: what the LM answers from: nothing; text in a few-shot prompt, after trained constant
            prefix tokens ("prefix"), or with a LoRA that was trained to read text ("lora");
            modulations; modulations and the text of the best chunk ("both"); weights that were
            tuned on the documents ("tuned"), or the LM that such tuning starts from ("qa-base").
            "judge": the checkpoint's judge answers, and no LM.
        retriever: how chunks are found: by the checkpoint's own relevance in one of its three
            forms, by another sentence encoder, or as the right document ("oracle").
        files: names of `--with` that it needs.
        optional: names of `--with` that it uses if they are given.
        encoder: the other sentence encoder.
        rate: the learning rate of tuning.
        judged: whether the checkpoint's judge reads the chunks, if it has one.
    """

    name: str
    reader: Reader
    retriever: RetrieverName | None = None
    files: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    encoder: str | None = None
    rate: float | None = None
    judged: bool = False

    @property
    def searches(self) -> bool:
        """Whether it selects k chunks of the store."""
        return self.retriever not in (None, "oracle")

    @property
    def stores(self) -> bool:
        """Whether it needs the store at all."""
        return self.retriever is not None

    @property
    def uses_modulations(self) -> bool:
        """Whether it answers from modulations, which belong to one checkpoint."""
        return self.reader in ("modulations", "both")

    @property
    def reads_all(self) -> bool:
        """Whether it can read the whole store where the stack can (`-k all`)."""
        return self.uses_modulations and self.retriever == "hybrid"


_RETRIEVERS: tuple[RetrieverName, ...] = ("bm25", "dense", "hybrid")


def _table() -> dict[str, Method]:
    rag: tuple[tuple[str, Reader, tuple[str, ...]], ...] = (
        ("rag", "text", ()),
        ("rag-prefix", "prefix", ("rag-prefix",)),
        ("rag-lora", "lora", ("rag-lora",)),
    )
    methods = [Method("closed-book", "nothing")]
    for name, reader, files in rag:
        methods += [Method(f"{name}-{how}", reader, how, files) for how in _RETRIEVERS]
    methods += [
        Method("rag-extractive", "judge", "hybrid", judged=True),
        Method("mac", "modulations", "hybrid", judged=True),
        Method("mac-fast", "modulations", "hybrid"),
        Method("mac-dense", "modulations", "dense"),
        Method("mac-bm25", "modulations", "bm25"),
        Method("mac+text", "both", "hybrid"),
        Method("oracle", "text", "oracle"),
        Method("rag-prefix-oracle", "prefix", "oracle", ("rag-prefix",)),
        Method("rag-lora-oracle", "lora", "oracle", ("rag-lora",)),
        Method("mac-oracle", "modulations", "oracle", judged=True),
        Method("mac-fast-oracle", "modulations", "oracle"),
        Method("qa-base", "qa-base", None, ("qa-base",)),
        Method("uniform", "tuned", optional=("qa-base",), rate=RATE),
        Method("salient-spans", "tuned", optional=("qa-base",), rate=RATE),
        Method("camels", "tuned", None, ("camels",), ("qa-base",), rate=RATE),
    ]
    return {method.name: method for method in methods}


METHODS = _table()
"""By name, in the order in which they are shown."""
DEFAULT_METHODS = ("closed-book", "rag-hybrid", "mac", "oracle", "mac-oracle")
FILES = ("rag-prefix", "rag-lora", "qa-base", "camels")
"""What `--with` may name: each was trained with one base LM."""

_BY_ENCODER: dict[str, tuple[Reader, tuple[str, ...]]] = {
    "rag": ("text", ()),
    "rag-prefix": ("prefix", ("rag-prefix",)),
    "rag-lora": ("lora", ("rag-lora",)),
    "mac": ("modulations", ()),
}


def parse(text: str) -> Method:
    """Return the method that ``NAME`` or ``NAME@WHAT`` means.

    WHAT is a learning rate for the methods that tune the LM, and another sentence encoder (a folder
    or Hub id, or two with a comma between them) for `rag`, `rag-prefix`, `rag-lora` and `mac`.

    Raises:
        ValueError: there is no such method; the message is a sentence.
    """
    name, at, what = text.partition("@")
    if not at:
        if name not in METHODS:
            raise ValueError(f"{name!r} is not a method. There are {', '.join(METHODS)}.")
        return METHODS[name]
    if name in METHODS and METHODS[name].rate is not None:
        try:
            rate = float(what)
        except ValueError:
            rate = 0.0
        if not 0 < rate < 1:
            raise ValueError(f"{what!r} in {text!r} is not a learning rate.")
        return replace(METHODS[name], name=f"{name}@{rate:g}", rate=rate)
    if name not in _BY_ENCODER:
        known = ", ".join(_BY_ENCODER)
        raise ValueError(f"{name!r} takes no '@'. Another sentence encoder goes with {known}.")
    reader, files = _BY_ENCODER[name]
    parts = encoder_parts(what)
    if len(parts) > 2 or not all(parts):
        raise ValueError(f"{what!r} is not an encoder, nor two as DOCUMENTS,QUESTIONS.")
    return Method(f"{name}@{_short(parts[0])}", reader, "encoder", files, encoder=what)


def encoder_parts(given: str) -> list[str]:
    """Return the encoder of documents and, if it is another one, that of questions."""
    if Path(given).expanduser().exists():
        return [given]
    return [part.strip() for part in given.split(",")]


def _short(encoder: str) -> str:
    """Return the last part of a folder or Hub id, without a revision."""
    folder = Path(encoder).expanduser()
    if folder.exists():
        return folder.absolute().name
    return encoder.partition("@")[0].rpartition("/")[2]


def parse_all(texts: Sequence[str]) -> tuple[Method, ...]:
    """Return several methods, each once.

    Raises:
        ValueError: one is unknown, or two different ones would have the same name.
    """
    methods: dict[str, Method] = {}
    for method in map(parse, texts):
        if methods.setdefault(method.name, method) != method:
            raise ValueError(f"Two encoders would make a method {method.name}: rename a folder.")
    return tuple(methods.values())

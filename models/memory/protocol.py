"""What a loaded checkpoint can do, whichever stack it is of. Neither torch nor NumPy is imported.

Letters: T tokens of a document, R latent size, E key size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from models.memory.modulation import Modulation, Selected
    from models.memory.relevance import RelevanceWeights


class Progress(Protocol):
    """What a long piece of work reports to; whoever shows it knows the total."""

    def advance(self, amount: int) -> None:
        """Count `amount` more units as done."""


class TrainedConfig(Protocol):
    """A dataclass that says what networks were trained for, and how."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def base_lm(self) -> str:
        """The base LM: a pinned name, a Hub id or a folder."""

    @property
    def base_sha256(self) -> str | None:
        """The SHA-256 of its weights, if it is known."""

    @property
    def chunk_tokens(self) -> int:
        """The most tokens of a chunk."""

    @property
    def training(self) -> dict[str, Any]:
        """The settings and figures of the training run."""


class ModelConfig(TrainedConfig, Protocol):
    """The config of a checkpoint: sizes, identities, and settings of retrieval."""

    @property
    def stack(self) -> str:
        """The name of the stack."""

    @property
    def encoder(self) -> str:
        """The sentence encoder: a pinned name, a Hub id or a folder."""

    @property
    def encoder_sha256(self) -> str | None:
        """The SHA-256 of its weights, if it is known."""

    @property
    def base_quantization(self) -> str | None:
        """How the base LM's weights are quantized while it is loaded; None leaves them as is."""

    @property
    def latent_size(self) -> int:
        """R."""

    @property
    def key_size(self) -> int:
        """E."""

    @property
    def documents(self) -> int:
        """How many documents a question selects by default."""

    @property
    def lexical_weight(self) -> float:
        """See `models.memory.relevance.RelevanceWeights`."""

    @property
    def likelihood_weight(self) -> float:
        """See `models.memory.relevance.RelevanceWeights`."""

    @property
    def coverage_weight(self) -> float:
        """See `models.memory.relevance.RelevanceWeights`."""

    @property
    def abstain_below(self) -> float | None:
        """The relevance under which a question is not answered; None never abstains."""

    def sizes(self) -> str:
        """Return the sizes of the networks in a few words, for the model card."""

    def as_dict(self) -> dict[str, Any]:
        """Return what goes into config.json."""


class AnswerStream(Protocol):
    """The text of an answer, piece by piece; the rest is known once it was read to its end."""

    @property
    def prefix_tokens(self) -> int:
        """The number of keys and values in front of each layer."""

    @property
    def attention(self) -> Sequence[NDArray[np.float32]]:
        """For each selected document the attention that its tokens got, [T]; empty if unknown."""

    @property
    def tokens(self) -> int:
        """The number of tokens of the answer."""

    @property
    def confidence(self) -> float:
        """The geometric mean of the tokens' probabilities, in (0, 1]; 0 for an empty answer."""

    @property
    def timings(self) -> Mapping[str, float]:
        """Seconds: `first` until the first token, `generate` in all."""

    def __iter__(self) -> Iterator[str]:
        """Return the iterator itself."""

    def __next__(self) -> str:
        """Return the next piece."""


class LoadedModel(Protocol):
    """A checkpoint at work; its base LM is loaded at the first use (`encode_question` is none)."""

    @property
    def config(self) -> ModelConfig:
        """The checkpoint's config."""

    @property
    def fingerprint(self) -> str:
        """The hash of config and weights, see `models.memory.checkpoint.fingerprint`."""

    @property
    def chunking(self) -> str:
        """The rules by which documents are cut; they are stored with every document."""

    @property
    def relevance(self) -> RelevanceWeights:
        """How dense and lexical relevance mix."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text."""

    def amortize(self, texts: Sequence[str]) -> list[Modulation]:
        """Turn each text into its modulation."""

    def encode_question(self, question: str) -> NDArray[np.float32]:
        """Return the query [E] that keys are multiplied with."""

    def question_likelihood(self, question: str, documents: Sequence[Selected]) -> Sequence[float]:
        """Return log p(question | document) of each document alone."""

    def token_spans(self, text: str) -> Sequence[tuple[int, int]]:
        """Return the offsets (start, end) in `text` of each of its T tokens; empty if unknown."""

    def answer(
        self, question: str, selected: Sequence[Selected], *, max_new_tokens: int = 32
    ) -> AnswerStream:
        """Answer from modulations; from none, exactly as the base LM does."""

    def answer_rag(
        self, question: str, texts: Sequence[str], *, max_new_tokens: int = 32
    ) -> AnswerStream:
        """Answer from texts in the prompt, after a few examples."""

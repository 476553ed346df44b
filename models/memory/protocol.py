"""What a loaded checkpoint can do, whichever stack it is of. Neither torch nor NumPy is imported.

Letters: T tokens of a document, R latent size, E key size.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from models.base.encoder import SentenceEncoder
    from models.memory.modulation import Modulation, Selected
    from models.memory.relevance import RelevanceWeights


class Progress(Protocol):
    """What a long piece of work reports to; the caller that shows it knows the total."""

    def advance(self, amount: int) -> None:
        """Count `amount` more units as done."""


class TrainedConfig(Protocol):
    """A dataclass that says what networks were trained for, and how."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def chunk_tokens(self) -> int:
        """The most tokens of a chunk."""

    @property
    def training(self) -> dict[str, Any]:
        """The settings and figures of the training run."""


class ModelConfig(TrainedConfig, Protocol):
    """The config of a checkpoint: sizes, identities, and settings of retrieval."""

    @property
    def base_lm(self) -> str:
        """The base LM: a pinned name, a Hub id or a folder."""

    @property
    def base_sha256(self) -> str | None:
        """The SHA-256 of its weights, if it is known."""

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

    @property
    def confidence(self) -> dict[str, float] | None:
        """The numbers of a `models.memory.confidence.Confidence`; None: it is not known."""

    @property
    def judge(self) -> str | None:
        """What reads questions and passages together, see `models.judge`; None: nothing does."""

    @property
    def judge_weight(self) -> float:
        """See `models.memory.relevance.RelevanceWeights`."""

    @property
    def judge_prior(self) -> float:
        """See `models.memory.relevance.RelevanceWeights.unjudged`."""

    @property
    def judge_confidence(self) -> dict[str, float] | None:
        """As `confidence`, of answers that the judge has weighed."""

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
    def surprise(self) -> Sequence[float]:
        """-log p of each token of the answer, in nats, its end included; empty if unknown."""

    def __iter__(self) -> Iterator[str]:
        """Return the iterator itself."""

    def __next__(self) -> str:
        """Return the next piece."""


class LoadedModel(Protocol):
    """A checkpoint at work. Its base LM is loaded at the first use; `encode_question` needs none.

    Attributes:
        config: the checkpoint's config; `key_size` is that of the encoder in use.
        fingerprint: the hash of config and weights, see `models.memory.checkpoint.fingerprint`.
        chunking: the rules by which documents are cut; they are stored with every document.
        relevance: how dense and lexical relevance mix.
    """

    config: ModelConfig
    fingerprint: str
    chunking: str
    relevance: RelevanceWeights

    @property
    @abstractmethod
    def encoder(self) -> SentenceEncoder:
        """The checkpoint's own sentence encoder, loaded at its first use.

        Keys and queries are made by another one where the user chose one.
        """

    @property
    @abstractmethod
    def batch_tokens(self) -> int:
        """How many tokens, padding included, `amortize` runs through the base LM at a time."""

    @abstractmethod
    def load(self) -> None:
        """Load what answering takes, so that no question waits for it.

        Raises:
            WeightsError: base weights cannot be downloaded or read.
            CheckpointError: the checkpoint was trained on other ones.
        """

    @abstractmethod
    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text, in the base LM's vocabulary."""

    @abstractmethod
    def amortize(self, texts: Sequence[str], contexts: Sequence[str] = ()) -> list[Modulation]:
        """Return the modulation of each text (g_theta of the paper's section 3.1).

        Any number of texts may come at once; they are batched by length inside, and a text's
        modulation does not depend on its company beyond rounding.

        Args:
            texts: the texts.
            contexts: what is read before each, see `models.text.prompts.context`: the texts are
                understood, and found, as what stands there; their T tokens remain their own. By
                default nothing.
        """

    @abstractmethod
    def encode_question(self, question: str) -> NDArray[np.float32]:
        """Return the query, float32 [E]: a document's dense relevance is its key times this."""

    @abstractmethod
    def question_likelihood(self, question: str, documents: Sequence[Selected]) -> Sequence[float]:
        """Return log p(question | document) of each document alone, in nats."""

    @abstractmethod
    def answer_likelihoods(
        self, question: str, answers: Sequence[str], selected: Sequence[Selected]
    ) -> Sequence[float]:
        """Return log p of each of some answers from the selected modulations, in nats."""

    @abstractmethod
    def token_spans(self, text: str) -> Sequence[tuple[int, int]]:
        """Return the offsets (start, end) in `text` of each of its T tokens; empty if unknown."""

    @abstractmethod
    def answer(
        self, question: str, selected: Sequence[Selected], *, max_new_tokens: int = 32
    ) -> AnswerStream:
        """Answer from modulations; from none, exactly as the base LM does."""

    @abstractmethod
    def answer_rag(
        self, question: str, texts: Sequence[str], *, max_new_tokens: int = 32
    ) -> AnswerStream:
        """Answer from texts in the prompt, after a few examples."""

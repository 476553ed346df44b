"""Sizes and choices that make a checkpoint of the `latent` stack. No torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from models.base.encoder_rules import rules_of
from models.base.quantize import check_quantization
from models.errors import CheckpointError
from models.memory.modulation import Rounding

COMPACT = Rounding(step=0.66, threshold=0.65)
"""Of compact checkpoints."""


@dataclass(frozen=True, slots=True)
class LatentConfig:
    """Sizes and choices that make a `latent` checkpoint; saved as its config.json."""

    base_lm: str
    base_sha256: str | None
    encoder: str
    encoder_sha256: str | None
    layers: int
    kv_heads: int
    head_size: int
    latent_size: int = 384
    key_size: int = 384
    constant_tokens: int = 16
    chunk_tokens: int = 160
    compact: bool = False
    """Whether latents are rounded to coarser steps, in a basis that was chosen for it."""
    documents: int = 8
    """How many documents a question selects by default."""
    lexical_weight: float = 0.0
    """Weight of BM25, scaled to [0, 1] over the candidates, beside the dense score."""
    likelihood_weight: float = 0.0
    """Weight of log p(question | document) in a second look at documents that are nearly level."""
    coverage_weight: float = 0.0
    """Weight of the share of the question's words, where it is decided whether to answer."""
    abstain_below: float | None = None
    """Best dense score with coverage under which nothing is answered; None never abstains."""
    confidence: dict[str, float] | None = None
    """How likely an answer is right, see `models.memory.confidence`; None: it is not known."""
    judge: str | None = None
    """What reads questions and passages together: a judge in the box or a folder; None: nothing."""
    judge_weight: float = 0.0
    """Weight of the judge's log odds that a passage answers, where one reads."""
    judge_prior: float = 1.0
    """Weight of all other relevance beside it."""
    judge_confidence: dict[str, float] | None = None
    """As `confidence`, of answers that the judge has weighed, see `models.judge.choice`."""
    base_quantization: str | None = None
    """How the base LM's weights are narrowed while it is loaded, see `models.base.quantize`."""
    encoder_rules: dict[str, str] = field(default_factory=dict)
    """How the encoder is run, see `models.base.encoder_rules`; empty: mean pooling, no prefix."""
    stack: str = "latent"
    training: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.stack != "latent":
            raise CheckpointError(f"unknown stack {self.stack!r}; known: 'latent' and 'paper'")
        for name in ("layers", "kv_heads", "head_size", "latent_size", "key_size", "chunk_tokens"):
            if getattr(self, name) < 1:
                raise CheckpointError(f"{name} must be at least 1, not {getattr(self, name)}")
        check_quantization(self.base_quantization)
        rules_of(self.encoder_rules)

    @property
    def features(self) -> int:
        """X, see `Shape.features`."""
        return self.layers * 2 * self.kv_heads * self.head_size

    @property
    def rounding(self) -> Rounding:
        """How latents are rounded."""
        return COMPACT if self.compact else Rounding()

    def sizes(self) -> str:
        """See `models.memory.protocol.ModelConfig.sizes`."""
        return f"latent size {self.latent_size}, {self.constant_tokens} constant prefix tokens"

    def as_dict(self) -> dict[str, Any]:
        """Return what goes into config.json."""
        return asdict(self)

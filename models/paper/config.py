"""The config of a checkpoint of the `paper` stack. torch is not imported."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from models.base.encoder_rules import rules_of
from models.base.quantize import check_quantization
from models.errors import CheckpointError

AMORTIZERS = ("t5", "t5-encoder", "decoder-only", "encoder")
MODULATIONS = ("prefix", "lora")


@dataclass(frozen=True, slots=True)
class PaperConfig:
    """The config of a checkpoint of the paper's stack (arXiv 2403.04317); saved as config.json."""

    base_lm: str
    base_sha256: str | None
    encoder: str
    """The sentence encoder of the documents' keys; the amortizer `encoder` reads its states."""
    encoder_sha256: str | None
    layers: int
    kv_heads: int
    head_size: int
    hidden_size: int
    """d, the hidden size of the base LM and the size of a latent."""
    key_size: int
    amortizer: str = "t5"
    network: dict[str, Any] = field(default_factory=dict)
    """The amortizer's network as a transformers config; for `encoder` just its `hidden_size`."""
    question_network: dict[str, Any] = field(default_factory=dict)
    """The input encoder's network, if it is not the same as the amortizer's."""
    tokenizer: str = ""
    """The tokenizer of the amortizer: a Hub id or a folder; empty: the base LM's."""
    modulation: str = "prefix"
    tokens: int = 12
    """T, latents of a modulation; the paper has 12 for distilgpt2 and 24 for larger base LMs."""
    prefix_tokens: int = 2
    """P, the number of keys and values in front of each layer."""
    r: int = 8
    """The rank of a `lora` modulation; named as in PEFT, as is `lora_alpha`."""
    lora_alpha: float = 16
    """The weights of a `lora` modulation are multiplied by alpha / r."""
    lora_targets: dict[str, Any] = field(default_factory=dict)
    """The projections that a `lora` modulation changes in every layer: name, [inputs, outputs]."""
    blocks: int = 4
    heads: int = 8
    attention_size: int = 96
    """C, the size of each of the aggregator's heads."""
    decoder_blocks: int = 2
    """Blocks of the small decoder on top of a sentence encoder."""
    head_hidden: int = 768
    chunk_tokens: int = 192
    documents: int = 8
    """How many documents a question selects by default."""
    group: int = 16
    """M, how many documents are aggregated at once; more are aggregated hierarchically."""
    lexical_weight: float = 0.0
    likelihood_weight: float = 0.0
    coverage_weight: float = 0.0
    abstain_below: float | None = None
    confidence: dict[str, float] | None = None
    judge: str | None = None
    judge_weight: float = 0.0
    judge_prior: float = 1.0
    judge_confidence: dict[str, float] | None = None
    base_quantization: str | None = None
    """How the base LM's weights are quantized, see `models.base.quantize`."""
    encoder_rules: dict[str, str] = field(default_factory=dict)
    """How the encoder makes keys and queries, see `models.base.encoder_rules`."""
    stack: str = "paper"
    training: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (
            *("layers", "kv_heads", "head_size", "hidden_size", "key_size", "tokens"),
            *("prefix_tokens", "blocks", "heads", "attention_size", "head_hidden", "chunk_tokens"),
        ):
            if getattr(self, name) < 1:
                raise CheckpointError(f"{name} must be at least 1, not {getattr(self, name)}")
        check_quantization(self.base_quantization)
        rules_of(self.encoder_rules)
        if self.group < 2:
            raise CheckpointError(f"group must be at least 2, not {self.group}")
        if self.amortizer not in AMORTIZERS:
            raise CheckpointError(
                f"unknown amortizer {self.amortizer!r}; one of {', '.join(AMORTIZERS)}"
            )
        if self.modulation not in MODULATIONS:
            raise CheckpointError(
                f"unknown modulation {self.modulation!r}; one of {', '.join(MODULATIONS)}"
            )
        if self.modulation == "lora":
            self._check_lora()
        elif self.tokens > (most := 2 * self.prefix_tokens * self.layers):
            raise CheckpointError(
                f"tokens must be at most {most}, not {self.tokens}: a prefix of "
                f"{self.prefix_tokens} in {self.layers} layers has no more keys and values"
            )

    def _check_lora(self) -> None:
        if self.r < 1 or self.lora_alpha <= 0:
            raise CheckpointError(
                f"r must be at least 1 and lora_alpha above 0, not {self.r} and {self.lora_alpha}"
            )
        for name, target in self.lora_targets.items():
            if not (isinstance(target, list | tuple) and len(target) == 2 and min(target) >= 1):
                raise CheckpointError(
                    f"lora_targets must give inputs and outputs of {name}, not {target!r}"
                )
        if not self.lora_targets:
            raise CheckpointError("lora_targets must name what a `lora` modulation changes")

    @property
    def targets(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of each of the `lora_targets`."""
        return {name: (int(i), int(o)) for name, (i, o) in self.lora_targets.items()}

    @property
    def latent_size(self) -> int:
        """The same as `hidden_size`."""
        return self.hidden_size

    def sizes(self) -> str:
        """See `models.memory.protocol.ModelConfig.sizes`."""
        modulation = f"{self.prefix_tokens} prefix tokens a layer"
        if self.modulation == "lora":
            modulation = f"LoRA of rank {self.r} on {', '.join(self.lora_targets)}"
        return (
            f"amortizer {self.amortizer}, {self.tokens} latents of size {self.latent_size} a "
            f"document, {modulation}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return what goes into config.json."""
        return asdict(self)

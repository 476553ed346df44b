"""The paper's stack: amortizer, input encoder, aggregator and modulation head of one checkpoint.

Letters: N texts, T tokens of a modulation, d latent size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from models.base.lm import BaseLM, Shape
from models.memory.stack import MemoryStack
from models.paper import networks
from models.paper.aggregator import Aggregator
from models.paper.config import PaperConfig
from models.paper.layers import PerToken
from models.paper.lora import LoraHead
from models.paper.modulation import ModulationHead, PrefixHead
from models.paper.networks import Inputs


class Amortizer(nn.Module):
    """A text to T latents of size d (g_theta; for questions the input encoder; section 3.1)."""

    def __init__(self, config: PaperConfig, described: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.network = networks.build(config, described)
        size = config.hidden_size
        self.mlps = PerToken(config.tokens, self.network.width, size, size, torch.tanh)

    def forward(self, inputs: Inputs) -> Tensor:
        """[N, T, d] of N texts."""
        latents: Tensor = self.mlps(self.network(inputs))
        return latents


class PaperStack(MemoryStack[PaperConfig]):
    """All that is trained of the paper's method; the base LM stands outside.

    Attributes:
        amortizer: documents to modulations (section 3.1).
        question: the input encoder, the same network with weights of its own.
        aggregator: a bank of modulations to one (section 3.2).
        head: that one to what the base LM is run under.
    """

    def __init__(self, config: PaperConfig) -> None:
        super().__init__()
        self.config = config
        self.amortizer = Amortizer(config)
        self.question = Amortizer(config, config.question_network)
        self.aggregator = Aggregator(
            config.hidden_size, config.blocks, config.heads, config.attention_size
        )
        self.head: ModulationHead
        if config.modulation == "lora":
            self.head = LoraHead(
                config.tokens,
                config.hidden_size,
                config.layers,
                config.targets,
                r=config.r,
                lora_alpha=config.lora_alpha,
                hidden=config.head_hidden,
            )
        else:
            shape = Shape(config.layers, config.kv_heads, config.head_size, config.hidden_size)
            self.head = PrefixHead(
                config.tokens, config.hidden_size, shape, config.prefix_tokens, config.head_hidden
            )

    def check(self, lm: BaseLM) -> None:
        """See `MemoryStack.check`; the head's layers are checked, too."""
        super().check(lm)
        self.head.check(lm)

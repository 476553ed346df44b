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
from models.paper.heads import LoraHead, ModulationHead, PrefixHead
from models.paper.layers import PerToken
from models.paper.networks import Inputs


class Amortizer(nn.Module):
    """Turns a text into T latents of size d (g_theta; the input encoder, too; section 3.1)."""

    def __init__(self, config: PaperConfig, network: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.network = networks.build(config, network)
        size = config.hidden_size
        self.mlps = PerToken(config.tokens, self.network.width, size, size, torch.tanh)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the latents [N, T, d] of N texts."""
        latents: Tensor = self.mlps(self.network(inputs))
        return latents


class PaperStack(MemoryStack[PaperConfig]):
    """All trained networks of the paper's method; the base LM is not among them.

    Attributes:
        amortizer: turns documents into modulations (section 3.1).
        question: the input encoder, the same network with weights of its own.
        aggregator: turns a bank of modulations into a single one (section 3.2).
        head: runs the base LM under that one.
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

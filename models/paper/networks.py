"""The networks that turn a text into T tokens: amortization networks (arXiv 2403.04317).

The paper chose `T5`, an encoder-decoder whose decoder reads T learned prompts; it compares it with
the encoder alone and with a causal decoder. `EncoderReader`, which is not in the paper, reads the
token states of a frozen sentence encoder and needs no T5 weights. All take inputs padded on the
right; the padding does not change the result.

Letters: N texts, S input tokens, T tokens read out, W width of the network.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from models.errors import CheckpointError, WeightsError
from models.paper.config import PaperConfig
from models.paper.layers import CrossBlock


class Inputs(NamedTuple):
    """A batch of texts.

    Attributes:
        values: token ids int64 [N, S], or a frozen encoder's states of them, float [N, S, E].
        mask: bool [N, S], which tokens are not padding.
    """

    values: Tensor
    mask: Tensor


class Network(nn.Module, ABC):
    """Turns texts into T tokens of width W, through T learned prompts.

    Attributes:
        width: W.
        prompts: [T, W].
    """

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.prompts = nn.Parameter(0.02 * torch.randn(tokens, width))

    @abstractmethod
    def forward(self, inputs: Inputs) -> Tensor:
        """Return the tokens [N, T, W] of N texts."""

    def expanded(self, texts: int) -> Tensor:
        """Return the prompts for each text, [N, T, W]."""
        return self.prompts.expand(texts, -1, -1)


class T5(Network):
    """T5 encoder-decoder; the decoder's input is T learned prompts (section 3.1).

    Args:
        settings: the fields of a `T5Config`.
        tokens: T.
    """

    def __init__(self, settings: dict[str, Any], tokens: int) -> None:
        from transformers import T5Config, T5Model

        model: Any = T5Model(_without_dropout(T5Config(**settings)))
        super().__init__(tokens, model.config.d_model)
        self.embed, self.encoder, self.decoder = model.shared, model.encoder, model.decoder
        # Embeddings are looked up here; the references in the stacks would be saved twice.
        del self.encoder.embed_tokens, self.decoder.embed_tokens

    def forward(self, inputs: Inputs) -> Tensor:
        """See `Network.forward`."""
        states = self.encoder(
            inputs_embeds=self.embed(inputs.values), attention_mask=inputs.mask
        ).last_hidden_state
        out: Tensor = self.decoder(
            inputs_embeds=self.expanded(len(states)),
            encoder_hidden_states=states,
            encoder_attention_mask=inputs.mask,
            use_cache=False,
        ).last_hidden_state
        return out


class T5Encoder(Network):
    """T5's encoder alone: the T learned prompts stand in front of the text.

    Args:
        settings: the fields of a `T5Config`.
        tokens: T.
    """

    def __init__(self, settings: dict[str, Any], tokens: int) -> None:
        from transformers import T5Config, T5EncoderModel

        model: Any = T5EncoderModel(_without_dropout(T5Config(**settings)))
        super().__init__(tokens, model.config.d_model)
        self.embed, self.encoder = model.shared, model.encoder
        del self.encoder.embed_tokens

    def forward(self, inputs: Inputs) -> Tensor:
        """See `Network.forward`."""
        n, tokens = len(inputs.values), len(self.prompts)
        embedded = torch.cat((self.expanded(n), self.embed(inputs.values)), 1)
        mask = torch.cat((inputs.mask.new_ones(n, tokens), inputs.mask), 1)
        states: Tensor = self.encoder(inputs_embeds=embedded, attention_mask=mask).last_hidden_state
        return states[:, :tokens]


class DecoderOnly(Network):
    """A causal language model: the T learned prompts stand after the text and see all of it.

    Args:
        settings: the fields of a transformers config, with its `model_type`.
        tokens: T.
    """

    def __init__(self, settings: dict[str, Any], tokens: int) -> None:
        from transformers import AutoConfig, AutoModel

        rest = dict(settings)
        config = AutoConfig.for_model(rest.pop("model_type"), **rest)
        model: Any = AutoModel.from_config(_without_dropout(config))
        super().__init__(tokens, model.config.hidden_size)
        self.model = model

    def forward(self, inputs: Inputs) -> Tensor:
        """See `Network.forward`."""
        n, tokens = len(inputs.values), len(self.prompts)
        embed = self.model.get_input_embeddings()
        embedded = torch.cat((embed(inputs.values), self.expanded(n)), 1)
        mask = torch.cat((inputs.mask, inputs.mask.new_ones(n, tokens)), 1)
        # The prompts follow a short text directly, however much padding is between them.
        places = (mask.cumsum(1) - 1).clamp_min(0)
        states: Tensor = self.model(
            inputs_embeds=embedded, attention_mask=mask, position_ids=places, use_cache=False
        ).last_hidden_state
        return states[:, -tokens:]


class EncoderReader(Network):
    """T learned queries that read a frozen sentence encoder's token states, block by block.

    Args:
        settings: the `hidden_size` of the sentence encoder, W.
        tokens: T.
        blocks: the number of blocks of cross-attention and MLP.
        heads: heads of a block.
        head_size: size of a head.
    """

    def __init__(
        self, settings: dict[str, Any], tokens: int, blocks: int, heads: int, head_size: int
    ) -> None:
        super().__init__(tokens, settings["hidden_size"])
        self.blocks = nn.ModuleList(
            CrossBlock(self.width, self.width, heads, head_size) for _ in range(blocks)
        )
        # With a deviation of 0.02 the queries would stay alike for long.
        nn.init.normal_(self.prompts)

    def forward(self, inputs: Inputs) -> Tensor:
        """See `Network.forward`."""
        x = self.expanded(len(inputs.values))
        for block in self.blocks:
            x = block(x, inputs.values, inputs.mask)
        return x


def build(config: PaperConfig, network: dict[str, Any] | None = None) -> Network:
    """Return the network that a config names, randomly initialised, without dropout.

    Args:
        config: the config of the stack.
        network: the description of the network; None or empty: the amortizer's.

    Raises:
        CheckpointError: the description is not one of that kind.
    """
    settings = dict(network or config.network)
    try:
        if config.amortizer == "t5":
            return T5(settings, config.tokens)
        if config.amortizer == "t5-encoder":
            return T5Encoder(settings, config.tokens)
        if config.amortizer == "decoder-only":
            return DecoderOnly(settings, config.tokens)
        return EncoderReader(
            settings, config.tokens, config.decoder_blocks, config.heads, config.attention_size
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"the network of the amortizer {config.amortizer!r} cannot be built: {error!r}"
        ) from error


def _without_dropout(config: Any) -> Any:
    """Set each dropout of a transformers config to 0, and return the config.

    Runs repeat bit for bit and can be resumed, so nothing random happens inside the networks.
    """
    for name, value in config.to_dict().items():
        if "drop" in name and type(value) in (int, float):
            setattr(config, name, 0.0)
    return config


def take_pretrained(network: Network, folder: Path) -> None:
    """Load the weights of the pretrained model in a folder into a network.

    Raises:
        WeightsError: the folder holds no readable model.
        CheckpointError: its model is of another shape.
    """
    from transformers import AutoModel, T5EncoderModel

    kind: Any = T5EncoderModel if isinstance(network, T5Encoder) else AutoModel
    try:
        model = kind.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise WeightsError(f"no readable model in {folder}: {error}") from error
    try:
        if isinstance(network, DecoderOnly):
            network.model.load_state_dict(model.state_dict())
        elif isinstance(network, (T5, T5Encoder)):
            network.embed.load_state_dict(model.shared.state_dict())
            for name in ("encoder", "decoder") if isinstance(network, T5) else ("encoder",):
                tensors = getattr(model, name).state_dict()
                tensors.pop("embed_tokens.weight", None)
                getattr(network, name).load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"the model in {folder} has another shape: {error}") from error

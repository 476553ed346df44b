"""The frozen models that a checkpoint stands on, each loaded at its first use."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from models.base.device import choose_device, choose_dtype
from models.base.encoder import SentenceEncoder
from models.base.lm import BaseLM
from models.memory.protocol import ModelConfig
from models.weights.carriers import Transfer
from models.weights.identity import check_identity
from models.weights.resolve import resolve


class BaseModels:
    """The base LM and the sentence encoder of a checkpoint; missing weights are downloaded.

    Args:
        config: names both, and says what they were when the checkpoint was trained.
        device: "auto", "cpu", "cuda" or "mps".
        progress: told about downloads.
        tell: told in a few words which weights are being loaded.

    Attributes:
        device: where both are.
        progress: as given.

    Raises:
        ModelError: there is no such device.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        device: str = "auto",
        progress: Transfer | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.device = choose_device(device)
        self.progress, self._config = progress, config
        self._tell = tell or (lambda _: None)

    @classmethod
    def loaded(cls, lm: BaseLM, encoder: SentenceEncoder) -> BaseModels:
        """Return models that are loaded already."""
        models = cls.__new__(cls)
        models.device, models.progress = lm.device, None
        models.lm, models.encoder = lm, encoder
        return models

    @cached_property
    def lm(self) -> BaseLM:
        """The base LM.

        Raises:
            WeightsError: it cannot be found or downloaded.
            CheckpointError: the checkpoint was trained on another one.
            ModelError: this machine cannot quantize it as the checkpoint wants.
        """
        config = self._config
        folder = resolve(config.base_lm, progress=self.progress)
        self._tell("loading the model")
        check_identity(config.base_lm, folder, config.base_sha256)
        return BaseLM.load(
            folder,
            device=self.device,
            dtype=choose_dtype(self.device),
            quantization=config.base_quantization,
        )

    @cached_property
    def encoder(self) -> SentenceEncoder:
        """The sentence encoder.

        Raises:
            WeightsError: it cannot be found or downloaded.
            CheckpointError: the checkpoint was trained with another one.
        """
        config = self._config
        folder = resolve(config.encoder, progress=self.progress)
        self._tell("loading the sentence encoder")
        check_identity(config.encoder, folder, config.encoder_sha256)
        return SentenceEncoder.load(folder, device=self.device)

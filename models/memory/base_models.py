"""The frozen models that a checkpoint stands on, each loaded at its first use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from models.base.device import choose_device, choose_dtype, prefer_onednn
from models.base.encoder import SentenceEncoder
from models.base.encoder_rules import EncoderRules, read_rules, rules_of
from models.base.lm import BaseLM
from models.base.native.packed import packed
from models.base.tokens import load_tokenizer
from models.errors import WeightsError
from models.memory.chosen_encoder import ChosenEncoder
from models.weights.cache import models_folder
from models.weights.carriers import Transfer
from models.weights.identity import check_identity, identity
from models.weights.resolve import resolve

if TYPE_CHECKING:
    from models.base.tokens import AnyTokenizer


class BaseNames(Protocol):
    """The part of a config that says which base models a checkpoint stands on."""

    @property
    def base_lm(self) -> str:
        """See `models.memory.protocol.TrainedConfig`."""

    @property
    def base_sha256(self) -> str | None:
        """The SHA-256 that the weights must have, if there is one."""

    @property
    def base_quantization(self) -> str | None:
        """See `models.memory.protocol.ModelConfig`."""

    @property
    def encoder(self) -> str:
        """See `models.memory.protocol.ModelConfig`."""

    @property
    def encoder_sha256(self) -> str | None:
        """The SHA-256 that the weights must have, if there is one."""

    @property
    def encoder_rules(self) -> Mapping[str, str] | None:
        """How the encoder is run, see `EncoderRules`; None for as its folder says now."""


class BaseModels:
    """The base LM and the sentence encoder of a checkpoint; missing weights are downloaded.

    Args:
        config: names both, and says what they were when the checkpoint was trained.
        device: "auto", "cpu", "cuda" or "mps".
        progress: told about downloads.
        tell: told in a few words which weights are being loaded.
        precision: of the base LM, see `models.base.device.choose_dtype`.
        chosen: the encoder that makes keys and queries in place of the checkpoint's own.

    Attributes:
        device: where all are.
        progress: as given.
        chosen: as given.

    Raises:
        ModelError: there is no such device.
    """

    def __init__(
        self,
        config: BaseNames,
        *,
        device: str = "auto",
        progress: Transfer | None = None,
        tell: Callable[[str], None] | None = None,
        precision: str | None = None,
        chosen: ChosenEncoder | None = None,
    ) -> None:
        self.device, self.chosen = choose_device(device), chosen
        prefer_onednn(self.device, precision)
        self.progress, self._config, self._precision = progress, config, precision
        self._tell = tell or (lambda _: None)

    @classmethod
    def loaded(cls, lm: BaseLM, encoder: SentenceEncoder) -> BaseModels:
        """Return models that are loaded already."""
        models = cls.__new__(cls)
        models.device, models.progress, models.chosen = lm.device, None, None
        models.lm = models.generating_lm = lm
        models.tokenizer, models.encoder = lm.tokenizer, encoder
        return models

    @cached_property
    def _lm_folder(self) -> Path:
        config = self._config
        folder = resolve(config.base_lm, progress=self.progress)
        check_identity(config.base_lm, folder, config.base_sha256)
        return folder

    @cached_property
    def _encoder_folder(self) -> Path:
        config = self._config
        folder = resolve(config.encoder, progress=self.progress)
        check_identity(config.encoder, folder, config.encoder_sha256)
        return folder

    @cached_property
    def _encoder_rules(self) -> EncoderRules:
        written = self._config.encoder_rules
        return read_rules(self._encoder_folder) if written is None else rules_of(written)

    def identities(self) -> dict[str, Any]:
        """Return what the config of a new checkpoint says of both: names, hashes, rules.

        Raises:
            WeightsError, CheckpointError: as for `lm` and `encoder`.
        """
        config = self._config
        return {
            "base_lm": config.base_lm,
            "base_sha256": identity(config.base_lm, self._lm_folder),
            "encoder": config.encoder,
            "encoder_sha256": identity(config.encoder, self._encoder_folder),
            "encoder_rules": asdict(self._encoder_rules),
        }

    @cached_property
    def lm(self) -> BaseLM:
        """The base LM.

        Raises:
            WeightsError: it cannot be found or downloaded.
            CheckpointError: the checkpoint was trained on another one.
            ModelError: this machine cannot quantize it as the checkpoint wants.
        """
        folder = self._lm_folder
        self._tell("loading the model")
        return BaseLM.load(
            folder,
            device=self.device,
            dtype=choose_dtype(self.device, self._precision),
            quantization=self._config.base_quantization,
            tokenizer=self.tokenizer,
            keep=self._converted_by_us,
        )

    @cached_property
    def generating_lm(self) -> BaseLM:
        """The base LM as it generates: on a CPU in the few bits that its weights came in.

        It is `lm` if a precision was asked for, if they never had few bits, or if this processor is
        no faster with them (`models.base.native.packed`). It shares everything with `lm`.

        Raises:
            WeightsError, CheckpointError, ModelError: as for `lm`.
        """
        plain = self._precision is None and self._config.base_quantization is None
        if self.device.type == "cpu" and plain and self._converted_by_us:
            return packed(self.lm, self._lm_folder)
        return self.lm

    @property
    def _converted_by_us(self) -> bool:
        """Whether files may be written beside the weights: only into the cache of base models."""
        return self._lm_folder.parent == models_folder()

    @cached_property
    def tokenizer(self) -> AnyTokenizer:
        """The base LM's tokenizer.

        Raises:
            WeightsError: it cannot be found, downloaded or read.
            CheckpointError: as for `lm`.
        """
        folder = self._lm_folder
        try:
            return load_tokenizer(folder)
        except (OSError, ValueError) as error:
            raise WeightsError(f"no readable tokenizer in {folder}: {error}") from error

    @cached_property
    def encoder(self) -> SentenceEncoder:
        """The checkpoint's own sentence encoder.

        Raises:
            WeightsError: it cannot be found or downloaded.
            CheckpointError: the checkpoint was trained with another one.
        """
        folder = self._encoder_folder
        self._tell("loading the sentence encoder")
        return self._load_encoder(folder, self._encoder_rules)

    @cached_property
    def key_encoder(self) -> SentenceEncoder:
        """What makes keys and queries: the encoder that was chosen, or else the checkpoint's own.

        Raises:
            WeightsError, CheckpointError: as for `encoder`.
        """
        if self.chosen is None:
            return self.encoder
        self._tell("loading the sentence encoder")
        folder, rules = self.chosen.folder, self.chosen.rules
        return self._load_encoder(folder, rules)

    def _load_encoder(self, folder: Path, rules: EncoderRules) -> SentenceEncoder:
        encoder = SentenceEncoder.load(folder, device=self.device, rules=rules)
        encoder.documents_dtype = choose_dtype(self.device, self._precision)
        return encoder

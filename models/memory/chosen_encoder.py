"""A sentence encoder that a user chose in place of a checkpoint's own. torch is not imported."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models.base.encoder_rules import EncoderRules, read_rules, rules_of
from models.weights.carriers import Transfer
from models.weights.identity import identity
from models.weights.resolve import resolve


@dataclass(frozen=True, slots=True)
class ChosenEncoder:
    """An encoder that makes keys and queries for a checkpoint that was trained with another one.

    Attributes:
        name: a pinned name, a Hub id or a folder.
        folder: where it is.
        sha256: of its weights, see `models.weights.identity`.
        rules: how it is run.
    """

    name: str
    folder: Path
    sha256: str
    rules: EncoderRules

    def fingerprint(self, checkpoint: str) -> str:
        """Return a hash, 16 hex digits, over a checkpoint's own fingerprint and this encoder."""
        made_by = [checkpoint, self.sha256, asdict(self.rules)]
        return hashlib.sha256(json.dumps(made_by, sort_keys=True).encode()).hexdigest()[:16]


def choose_encoder(
    name: str, config: Mapping[str, Any], progress: Transfer | None = None
) -> ChosenEncoder | None:
    """Return the encoder of a name; None if it is the checkpoint's own.

    Args:
        name: a pinned name, a Hub id or a folder.
        config: the checkpoint's config.json.
        progress: told about downloads.

    Raises:
        WeightsError: the encoder cannot be found, downloaded or read.
        CheckpointError: config.json cannot be understood.
    """
    if name == config.get("encoder"):
        return None
    folder = resolve(name, progress=progress)
    chosen = ChosenEncoder(name, folder, identity(name, folder), read_rules(folder))
    own = config.get("encoder_sha256"), rules_of(config.get("encoder_rules", {}))
    return None if (chosen.sha256, chosen.rules) == own else chosen

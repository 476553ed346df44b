"""The checkpoints that one run compares, and which of them the methods without one are run with.

A method that needs no checkpoint (closed-book, rag, fine-tuning) is measured once for each base LM:
with the first checkpoint of the `latent` stack on it, whose trained relevance finds the text, or
else with the first one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maccli import config as settings
from maccli.service import session
from maccli.service.session import StoreAndModel
from models import stacks
from models.memory import checkpoint

if TYPE_CHECKING:
    from models.weights.carriers import Transfer


_ANSWERING = checkpoint.ANSWERING - {"training", "documents"}
"""Settings that the fingerprint leaves out and that change answers; `documents` is a row's k."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One of the checkpoints that are compared.

    Attributes:
        choice: the checkpoint, and a store for it alone.
        config: the checkpoint's config.json.
        fingerprint: see `StoreAndModel.fingerprint`.
        name: what its rows are called by; None where it is the only one.
        base_lm: what rows of its base LM are called by; None where all have the same.
        leads: whether methods that need no checkpoint are measured with its base LM.
    """

    choice: StoreAndModel
    config: dict[str, Any]
    fingerprint: str
    name: str | None = None
    base_lm: str | None = None
    leads: bool = True

    @property
    def reads_whole_store(self) -> bool:
        """Whether it can answer from all documents at once."""
        return stacks.reads_whole_store(self.config)

    def settings(self) -> dict[str, Any]:
        """Return what a file of results must have in common with this checkpoint.

        Raises:
            CheckpointError: there is no such judge.
        """
        return {
            "model": [self.name, self.fingerprint] if self.name else self.fingerprint,
            "precision": self.choice.precision,
            **{name: self.config.get(name) for name in sorted(_ANSWERING)},
            "judge_fingerprint": self._judge_fingerprint,
        }

    @property
    def _judge_fingerprint(self) -> str | None:
        """What tells the judge's weights from others; None where there is no judge."""
        from models.judge import judge

        name = self.config.get("judge")
        return checkpoint.fingerprint(judge.find(name)) if name else None


def line_up(
    models: Sequence[str], folder: Path, device: str, transfer: Transfer | None = None
) -> list[Checkpoint]:
    """Return the checkpoints in their order.

    Args:
        models: names or folders; one that is given twice counts once.
        folder: of the store; with several checkpoints each has a folder of its own in it.
        device: "auto", "cpu", "cuda" or "mps".
        transfer: told about downloads of the sentence encoder that is set.

    Raises:
        CheckpointError: there is no such checkpoint, or its files cannot be read.
        WeightsError: there is no such encoder, or it cannot be downloaded.
    """
    given = list(dict.fromkeys(models))
    encoder = settings.optional_text("encoder")
    choices = [
        session.store_and_model(
            folder,
            model,
            device=device,
            encoder=encoder,
            precision=settings.optional_text("precision"),
            transfer=transfer,
        )
        for model in given
    ]
    configs = [checkpoint.read_config(choice.checkpoint) for choice in choices]
    prints = [choice.fingerprint for choice in choices]
    if len(given) == 1:
        return [Checkpoint(choices[0], configs[0], prints[0])]
    names = _distinct([_last_part(model) for model in given], given)
    bases = [config.get("base_sha256") or str(config.get("base_lm")) for config in configs]
    base_names = _base_names(bases, configs)
    leaders = {base: _leader(base, bases, configs) for base in bases}
    return [
        Checkpoint(
            replace(choice, store=folder / f"{_last_part(choice.model)}-{print_[:8]}"),
            written,
            print_,
            name,
            base_names[base] if len(base_names) > 1 else None,
            leaders[base] == number,
        )
        for number, (choice, written, print_, name, base) in enumerate(
            zip(choices, configs, prints, names, bases, strict=True)
        )
    ]


def _last_part(model: str) -> str:
    return Path(model).absolute().name


def _leader(base: str, bases: Sequence[str], configs: Sequence[dict[str, Any]]) -> int:
    """Return which checkpoint the methods without one are run with, for a base LM."""
    same = [i for i, other in enumerate(bases) if other == base]
    return next((i for i in same if stacks.name_of(configs[i]) == "latent"), same[0])


def _base_names(bases: Sequence[str], configs: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Return a short name for each base LM; base LMs differ by content, not by name."""
    full = {b: str(c.get("base_lm")) for b, c in zip(bases, configs, strict=True)}
    short = _distinct(
        [Path(name).name for name in full.values()],
        [f"{name} {base[:8]}" for base, name in full.items()],
    )
    return dict(zip(full, short, strict=True))


def _distinct(short: Sequence[str], full: Sequence[str]) -> list[str]:
    """Return the short names, with the full one in place of each that occurs twice."""
    return [
        name if list(short).count(name) == 1 else whole
        for name, whole in zip(short, full, strict=True)
    ]

"""Which checkpoints one run of `mac eval` compares, and which of them the rivals are run with.

What needs no checkpoint (closed-book, rag, fine-tuning) is measured once for each base LM, with the
first checkpoint of the `latent` stack on it, whose trained relevance finds the text; else with the
first one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maccli.errors import USAGE, MacError
from maccli.evaluation.bank import ALL, K
from maccli.service import session
from maccli.service.session import Place
from models.memory import checkpoint


@dataclass(frozen=True, slots=True)
class Entrant:
    """One of the checkpoints that are compared.

    Attributes:
        place: the checkpoint, and a store for it alone.
        config: the checkpoint's config.json.
        fingerprint: see `models.memory.checkpoint.fingerprint`.
        name: what its rows are called by; None where it is the only one.
        base_lm: what rows of its base LM are called by; None where all have the same.
        rivals: whether what needs no checkpoint is measured with its base LM.
    """

    place: Place
    config: dict[str, Any]
    fingerprint: str
    name: str | None = None
    base_lm: str | None = None
    rivals: bool = True

    @property
    def paper(self) -> bool:
        """Whether it is of the paper's stack."""
        return self.config.get("stack") == "paper"


def alone(place: Place) -> Entrant:
    """Return the only checkpoint of a run.

    Raises:
        CheckpointError: its files cannot be read.
    """
    folder = place.checkpoint
    return Entrant(place, checkpoint.read_config(folder), checkpoint.fingerprint(folder))


def line_up(models: Sequence[str], folder: Path, device: str) -> list[Entrant]:
    """Return the checkpoints in their order.

    Args:
        models: names or folders; one that is given twice counts once.
        folder: of the store; with several checkpoints each has a folder of its own in it.
        device: "auto", "cpu", "cuda" or "mps".

    Raises:
        CheckpointError: there is no such checkpoint, or its files cannot be read.
    """
    given = list(dict.fromkeys(models))
    paths = [checkpoint.find(model) for model in given]
    configs = [checkpoint.read_config(path) for path in paths]
    prints = [checkpoint.fingerprint(path) for path in paths]
    if len(given) == 1:
        return [alone(session.place(folder, given[0], device=device))]
    names = _distinct([_called(model) for model in given], given)
    bases = [config.get("base_sha256") or str(config.get("base_lm")) for config in configs]
    base_names = _base_names(bases, configs)
    leaders = {base: _leader(base, bases, configs) for base in bases}
    return [
        Entrant(
            session.place(folder / f"{_called(model)}-{print_[:8]}", model, device=device),
            config,
            print_,
            name,
            base_names[base] if len(base_names) > 1 else None,
            leaders[base] == number,
        )
        for number, (model, config, print_, name, base) in enumerate(
            zip(given, configs, prints, names, bases, strict=True)
        )
    ]


def own_settings(
    entrant: Entrant, lexical: float | None = None, group: K | None = None
) -> dict[str, Any]:
    """Return the settings of a file of results that each checkpoint has for itself.

    Args:
        entrant: the checkpoint.
        lexical: BM25's weight, where it is not the checkpoint's.
        group: documents that are aggregated at once, where it is not the checkpoint's.
    """
    config = entrant.config
    own: dict[str, Any] = {
        "model": [entrant.name, entrant.fingerprint] if entrant.name else entrant.fingerprint,
        "lexical": config.get("lexical_weight", 0.0) if lexical is None else lexical,
        "likelihood": config.get("likelihood_weight", 0.0),
        "group": None,
    }
    if entrant.paper:
        own["group"] = config.get("group") if group is None else group
    return own


def check(
    entrants: Sequence[Entrant], ks: Sequence[K], group: K | None, fitted: Sequence[str] = ()
) -> None:
    """Refuse what none of the checkpoints can do.

    Args:
        entrants: the checkpoints.
        ks: how many chunks a question selects.
        group: documents that are aggregated at once.
        fitted: options that were given and name what was trained with one base LM.

    Raises:
        MacError: none can.
    """
    asked = {"-k all": ALL in ks, "--group": group is not None}
    named = next((name for name, on in asked.items() if on), "")
    if named and not any(entrant.paper for entrant in entrants):
        raise MacError(
            f"{named} is of the paper's stack, which aggregates any number of documents; "
            f"{entrants[0].place.model} is of the latent stack.",
            "Name a checkpoint of the paper's stack (-m), or leave it out.",
            USAGE,
        )
    if fitted and len({entrant.base_lm for entrant in entrants}) > 1:
        raise MacError(
            f"The files of {', '.join(fitted)} belong to one base LM, and the checkpoints have "
            "several.",
            "Run it with the checkpoints of that base LM alone.",
            USAGE,
        )


def _called(model: str) -> str:
    """Return the last part of a name or folder."""
    return Path(model).absolute().name


def _leader(base: str, bases: Sequence[str], configs: Sequence[dict[str, Any]]) -> int:
    """Return which checkpoint the rivals on a base LM are run with."""
    own = [i for i, other in enumerate(bases) if other == base]
    return next((i for i in own if configs[i].get("stack", "latent") == "latent"), own[0])


def _base_names(bases: Sequence[str], configs: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Return a short name for each base LM, told apart by content."""
    called = {b: str(c.get("base_lm")) for b, c in zip(bases, configs, strict=True)}
    short = _distinct(
        [Path(name).name for name in called.values()],
        [f"{name} {base[:8]}" for base, name in called.items()],
    )
    return dict(zip(called, short, strict=True))


def _distinct(short: Sequence[str], full: Sequence[str]) -> list[str]:
    """Return the short names, but the full one of each that is not the only one of its name."""
    return [
        name if list(short).count(name) == 1 else whole
        for name, whole in zip(short, full, strict=True)
    ]

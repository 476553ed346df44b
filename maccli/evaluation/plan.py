"""What one run of `mac eval` or `mac study` measures, and from what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maccli.errors import USAGE, MacError
from maccli.evaluation.checkpoints import Checkpoint
from maccli.evaluation.dataset import identities
from maccli.evaluation.methods import ALL, K, Method
from models.evaluation.answers import BATCH, MAX_NEW_TOKENS


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure.

    Attributes:
        kind: "methods", or the name of a study.
        data: files of questions with documents.
        distractors: files of documents without questions, which the store holds too.
        split: only what belongs to this split.
        limit: how many questions to draw at random; None asks all.
        seed: the random seed of everything that is drawn.
        methods: the methods.
        ks: numbers of chunks that a question selects; none means as trained. `ALL` selects nothing
            and reads every chunk, with the paper's stack.
        files: what methods need, by their names in `maccli.evaluation.methods.FILES`.
    """

    kind: str = "methods"
    data: tuple[Path, ...] = ()
    distractors: tuple[Path, ...] = ()
    split: str | None = None
    limit: int | None = None
    seed: int = 0
    methods: tuple[Method, ...] = ()
    ks: tuple[K, ...] = ()
    files: dict[str, Path] = field(default_factory=dict)

    def settings(self, checkpoints: Sequence[Checkpoint]) -> dict[str, Any]:
        """Return what everything in one file of results must have in common.

        With several checkpoints what depends on each is a list, in their order.

        Raises:
            DataError: a file cannot be read.
            CheckpointError: the judge of a checkpoint cannot be read.
            MacError: no checkpoint can do what the plan says.
        """
        self._check(checkpoints)
        of_each = [checkpoint.settings() for checkpoint in checkpoints]
        return {
            "kind": self.kind,
            "data": identities(self.data),
            "distractors": identities(self.distractors),
            "split": self.split,
            "limit": self.limit,
            "seed": self.seed,
            **{
                name: of_each[0][name]
                if len(of_each) == 1
                else [settings[name] for settings in of_each]
                for name in of_each[0]
            },
            "max_new_tokens": MAX_NEW_TOKENS,
            "batch": BATCH,
        }

    def _check(self, checkpoints: Sequence[Checkpoint]) -> None:
        if ALL in self.ks and not any(checkpoint.reads_whole_store for checkpoint in checkpoints):
            raise MacError(
                "-k all works with the paper's stack, which aggregates any number of documents; "
                f"{checkpoints[0].choice.model} is of the latent stack.",
                "Name a checkpoint of the paper's stack (-m), or leave it out.",
                USAGE,
            )
        if self.files and len({checkpoint.base_lm for checkpoint in checkpoints}) > 1:
            raise MacError(
                f"{', '.join(self.files)}: each was trained with one base model, and the "
                "checkpoints have several.",
                "Compare the checkpoints of that base model alone.",
                USAGE,
            )

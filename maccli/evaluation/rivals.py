"""The rivals of `mac` that learn: text read with a LoRA, and LMs tuned on the documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from maccli.evaluation.dataset import sha256
from maccli.evaluation.methods import Method
from maccli.evaluation.peak_memory import peak_memory
from models.errors import CheckpointError
from models.memory.protocol import Progress
from models.rivals import adapter, camels, salient

if TYPE_CHECKING:
    from models.base.lm import BaseLM
    from models.rivals.adapter import Adapter
    from models.rivals.finetune import Tuner, Weigh
    from models.stacks import AnyMemory


def digests(method: Method, files: Mapping[str, Path]) -> dict[str, str]:
    """Return the SHA-256 of the files that a method is made with, by their names in `--with`.

    Raises:
        DataError: one cannot be read.
    """
    inside = {
        "rag-lora": adapter.WEIGHTS,
        "qa-base": adapter.WEIGHTS,
        "camels": camels.FILE,
    }
    out = {}
    for name in (*method.files, *method.optional):
        if (path := files.get(name)) is not None:
            is_folder = name in inside and (path.is_dir() or name != "camels")
            out[name] = sha256(path / inside[name] if is_folder else path)
    return out


class Rivals:
    """What the rivals on one base LM are made of, loaded when it is first needed.

    Args:
        model: the checkpoint on whose frozen LM they stand.
        files: adapters and networks, by their names in `--with`.
        note: tells the user something.
    """

    def __init__(
        self, model: AnyMemory, files: Mapping[str, Path], note: Callable[[str], None]
    ) -> None:
        self._model, self._files, self._note = model, files, note

    @cached_property
    def reader(self) -> BaseLM:
        """The LM that reads text with the adapter rag-lora.

        Raises:
            CheckpointError: the adapter cannot be used.
        """
        return adapter.merged(self._model.lm, self._adapter("rag-lora", "text"))

    @cached_property
    def base(self) -> BaseLM:
        """The QA-tuned LM that tuning on documents starts from.

        Raises:
            CheckpointError: the adapter cannot be used.
        """
        return adapter.merged(self._model.lm, self._start)

    @cached_property
    def _start(self) -> Adapter | None:
        return self._adapter("qa-base", "closed-book") if "qa-base" in self._files else None

    def _adapter(self, name: str, task: str) -> Adapter:
        folder, config = self._files[name], self._model.config
        trained = adapter.read_config(folder)
        theirs = trained.base_sha256
        if theirs is not None and config.base_sha256 not in (None, theirs):
            raise CheckpointError(
                f"the adapter in {folder} was trained on {trained.base_lm} "
                f"(SHA-256 {theirs[:12]}...), not on {config.base_lm} "
                f"({str(config.base_sha256)[:12]}...)",
                "train one for this base model with `mac train-rival`",
            )
        if trained.task not in (None, task):
            self._note(
                f"The adapter in {folder} was trained for the task {trained.task}, "
                f"and is used for {task}."
            )
        return adapter.load(folder, self._model.lm)

    @cached_property
    def tagger(self) -> tuple[salient.Tagger, str]:
        """What finds entities for salient-spans, and its name."""
        tagger, name = salient.find_tagger()
        if name == salient.FALLBACK:
            self._note(
                "salient-spans finds entities by a regular expression; for a trained tagger: "
                "pip install 'maccli[entities]' and python -m spacy download en_core_web_sm"
            )
        return tagger, name

    def _weigh(self, method: Method) -> Weigh | None:
        if method.name.startswith("salient-spans"):
            return salient.SalientSpans(self._model.lm, self.tagger[0])
        if method.name.startswith("camels"):
            return camels.Weigher(camels.load(self._files["camels"]), self._model.lm)
        return None

    def tuner(self, method: Method) -> Tuner:
        """Return a fresh copy of the LM, ready to learn documents as a method does.

        Raises:
            CheckpointError: an adapter or a weighting network cannot be used.
        """
        from models.rivals.finetune import Tuner

        assert method.rate is not None
        return Tuner(self._model.lm, method.rate, start=self._start, weigh=self._weigh(method))

    def tuned(
        self, method: Method, documents: Sequence[str], progress: Progress
    ) -> tuple[Tuner, dict[str, float | None]]:
        """Tune on documents in their order; return the tuner and what that cost."""
        for copied in ("reader", "base"):  # the memory of other rows' LMs does not count here
            self.__dict__.pop(copied, None)
        with peak_memory(self._model.lm.device.type == "cuda") as used:
            tuner = self.tuner(method)
            seconds = tuner.learn(documents, progress)
        return tuner, adaptation(seconds, used.process, used.device, None)


def adaptation(
    seconds: float | None, memory: float | None, device: float | None, stored: float | None
) -> dict[str, float | None]:
    """Return what a row says of taking the documents in.

    Args:
        seconds: how long it took.
        memory: peak bytes of the process.
        device: peak bytes on a CUDA device.
        stored: bytes a document.
    """
    return {
        "adaptation_seconds": seconds,
        "adaptation_memory": memory,
        "adaptation_device_memory": device,
        "bytes_a_document": stored,
    }

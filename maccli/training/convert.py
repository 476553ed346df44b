"""Checkpoints of the authors' published code into checkpoints of the `paper` stack."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from maccli.errors import USAGE, MacError
from maccli.service.session import silence_libraries
from models.memory import checkpoint
from models.weights.carriers import Transfer
from models.weights.identity import identity
from models.weights.resolve import resolve


def convert(
    file: Path,
    out: Path,
    *,
    base: str,
    encoder: str,
    tokenizer: str,
    transfer: Transfer | None = None,
) -> Path:
    """Convert a file and return the new checkpoint's folder.

    Args:
        file: what their code saved.
        out: the new folder.
        base: the base LM that it was trained for: a pinned name, a Hub id or a folder.
        encoder: the sentence encoder of the documents' keys, likewise.
        tokenizer: whose tokens its T5 reads, likewise.
        transfer: told about downloads.

    Raises:
        MacError: there is a checkpoint in the folder already.
        CheckpointError: the file is none of theirs, or is for another base LM.
        WeightsError: a model cannot be downloaded or read.
        ModelError: the base LM cannot be used.
    """
    if (out / checkpoint.CONFIG).exists():
        raise MacError(
            f"There is a checkpoint in {out} already.", "Convert into another folder.", USAGE
        )
    import torch

    from models.base.encoder import SentenceEncoder
    from models.base.lm import BaseLM
    from models.paper import authors as paper

    silence_libraries()
    tensors = paper.read(file)
    cpu = torch.device("cpu")
    base_folder = resolve(base, progress=transfer)
    encoder_folder = resolve(encoder, progress=transfer)
    keys = SentenceEncoder.load(encoder_folder, device=cpu)
    stack = paper.convert(
        tensors,
        BaseLM.load(base_folder, device=cpu, dtype=torch.bfloat16).shape,
        base_lm=base,
        base_sha256=identity(base, base_folder),
        encoder=encoder,
        encoder_sha256=identity(encoder, encoder_folder),
        encoder_rules=asdict(keys.rules),
        key_size=keys.size,
        tokenizer=tokenizer,
        training={"converted_from": file.name},
    )
    stack.save(out)
    return out

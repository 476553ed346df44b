"""`mac train-rival`: train what `mac eval` compares checkpoints with."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import click

from maccli.commands import options
from maccli.commands.train.options import DATA, MODELS, STEPS, watched
from maccli.output import Output


@click.command("train-rival")
@click.argument("name", type=click.Choice(["rag-lora", "qa", "camels"]))
@options.apply(*DATA, *MODELS)
@options.number(
    "--rank", help="Rank of the adapter.  [default: as many trained parameters as a checkpoint has]"
)
@click.option(
    "--qa-base",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="ADAPTER",
    help="The adapter (`mac train-rival qa`) of the model that camels is to tune.",
)
@click.option(
    "--lr", type=float, metavar="X", help="Learning rate.  [default: 5e-4; 1e-3 for camels]"
)
@options.apply(*STEPS)
@click.pass_context
def train_rival(
    ctx: click.Context,
    /,
    name: str,
    rank: int | None,
    qa_base: Path | None,
    quiet: bool,
    **given: Any,
) -> None:
    """Train the baselines of `mac eval`.

    rag-lora is a LoRA adapter of the base model that reads documents' text; qa is one that answers
    from the question alone, from which tuning on documents starts; camels is the weighting network
    of CaMeLS (arXiv 2305.15076). Adapters are files of the peft library.

    \b
    Examples:
      mac train-rival rag-lora --data questions.jsonl --out rag-lora
      mac train-rival qa --data questions.jsonl --out qa
      mac train-rival camels --data questions.jsonl --qa-base qa --out camels
    """
    from maccli.training import rivals, settings
    from maccli.training.train import is_main_process

    if rank is not None and name == "camels":
        raise click.UsageError("--rank is for adapters; camels has none.")
    if qa_base is not None and name != "camels":
        raise click.UsageError("--qa-base is for camels.")
    rival = rivals.Rival(cast("rivals.Name", name), rank, qa_base)
    run = settings.run_of(given)
    config = settings.settings_of(given, run, rival.learning_rate)
    folder = watched(
        ctx,
        quiet,
        config.steps,
        run.out,
        lambda callbacks: rivals.train_rival(run, config, rival, callbacks),
    )
    files = {"rag-lora": "rag-lora", "qa": "qa-base", "camels": "camels"}
    Output(quiet=quiet or not is_main_process()).note(
        f"Compare with it: mac eval --with {files[name]}={folder}"
    )

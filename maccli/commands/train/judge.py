"""`mac train-judge`: train what reads a question together with a passage."""

from __future__ import annotations

from typing import Any

import click

from maccli.commands import options
from maccli.commands.train.options import DATA, MODELS, STEPS, watched
from maccli.output import Output


@click.command("train-judge")
@options.apply(*DATA)
@click.option(
    "--from",
    "start",
    metavar="JUDGE",
    help="Train this judge further, the bundled one (minilm) or a folder; it decides the "
    "sentence encoder. The result is the mean of its weights before and after.",
)
@options.apply(*MODELS)
@click.option("--lr", type=float, metavar="X", help="Learning rate.  [default: 1.2e-4]")
@options.apply(*STEPS)
@click.pass_context
def train_judge(ctx: click.Context, /, quiet: bool, **given: Any) -> None:
    """Train the judge, which reads a question together with a passage.

    It is tuned from the sentence encoder: whether a passage answers a question, and with which
    words. Questions without an answer in their document are part of what it learns from. A
    checkpoint names its judge in its config.json.

    \b
    Examples:
      mac train-judge --data questions.jsonl --from minilm --out my-judge
      mac train-judge --data squad2.json:2 --data tables.jsonl.zst --batch 24 --out my-judge
    """
    from maccli.training import judges, settings
    from maccli.training.train import is_main_process

    if given["start"] is not None and given["encoder"] is not None:
        raise click.UsageError("--encoder comes from the judge named with --from; leave it out.")
    run = settings.run_of(given, start=given["start"])
    config = settings.settings_of(given, run, judges.learning_rate(), unanswerable=True)
    folder = watched(
        ctx,
        quiet,
        config.steps,
        run.out,
        lambda callbacks: judges.train_judge(run, config, callbacks),
    )
    Output(quiet=quiet or not is_main_process()).note(
        f'Name it in a checkpoint: "judge": "{folder}" in config.json. docs/training.md says how '
        "to fit what its answers are weighed with."
    )

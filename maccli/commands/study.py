"""`mac study NAME`: what else there is to know about a store of documents than single answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from maccli.commands import options
from maccli.commands.eval import (
    DATA,
    FILE,
    RESULTS,
    data_option,
    finish,
    k_option,
    method_options,
    models_option,
    plan_of,
    store_option,
)
from maccli.commands.groups import LazyGroup
from maccli.evaluation.methods import ALL, DEFAULT_METHODS

METHOD = method_options("see `mac eval -h`")
limit_articles_option = options.number(
    "--limit", help="Draw N articles at random.  [default: read all]"
)
one_model_option = click.option(
    "-m",
    "--model",
    "models",
    metavar="MODEL",
    help="A checkpoint's name or folder, instead of $MAC_MODEL.",
)


def _sizes(_: click.Context, __: click.Parameter, text: str) -> tuple[int, ...]:
    """Read numbers with commas between them."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and int(part) > 0 for part in parts):
        raise click.BadParameter(f"{text!r} is not a list of numbers, such as 100,1000.")
    return tuple(map(int, parts))


@click.group(cls=LazyGroup)
def study() -> None:
    """Study larger stores, retention, abstention, pruning and more.

    \b
    Examples:
      mac study bank-sizes --data questions.jsonl --sizes 100,1000
      mac study prune-curve --data questions.jsonl --report curve.svg
      mac study own-documents notes --questions 100
    """


@study.command("bank-sizes")
@data_option
@click.option(
    "--sizes",
    required=True,
    callback=_sizes,
    metavar="N,N...",
    help="Numbers of documents; the smallest store decides which questions are asked.",
)
@options.apply(*DATA, models_option, *METHOD, *RESULTS)
@click.pass_context
def bank_sizes(ctx: click.Context, /, sizes: tuple[int, ...], **given: Any) -> None:
    """Ask the same questions of ever larger stores.

    This takes the methods that search; by default mac. Chunks are amortized only when a question
    selects them.

    \b
    Example:
      mac study bank-sizes --data questions.jsonl --distractors news.jsonl --sizes 100,1000,4000
    """
    from maccli.evaluation.studies import bank_sizes as study

    if ALL in given["ks"]:
        raise click.UsageError("-k all would read every chunk of the largest store.")
    plan = plan_of(given, "bank-sizes")
    finish(ctx, given, plan, lambda evaluation: study.run(evaluation, sizes))


@study.command()
@data_option
@options.number("--first", default=200, show_default=True, help="Ask about the first N documents.")
@click.option(
    "--moments",
    type=click.IntRange(2, 20),
    default=2,
    show_default=True,
    metavar="N",
    help="Ask N times: right after them, at the end, and in between.",
)
@options.apply(*DATA, models_option, *METHOD, *RESULTS)
@click.pass_context
def retention(ctx: click.Context, /, first: int, moments: int, **given: Any) -> None:
    """Measure how answers about early documents hold up as more come in.

    The questions about the first documents are asked again and again. This takes the methods that
    search, and those that tune the model; by default mac.

    \b
    Examples:
      mac study retention --data questions.jsonl --first 100 --moments 5
      mac study retention --data questions.jsonl --method uniform@1e-4 --with qa-base=qa
    """
    from maccli.evaluation.studies import retention as study

    plan = plan_of(given, "retention")
    finish(ctx, given, plan, lambda evaluation: study.run(evaluation, first, moments))


@study.command()
@data_option
@options.apply(*DATA, models_option, k_option, store_option, *RESULTS)
@click.pass_context
def abstention(ctx: click.Context, /, **given: Any) -> None:
    """Count wrongly and rightly refused questions.

    Every question is asked with its document in the store, and without it.

    \b
    Example:
      mac study abstention --data questions.jsonl --limit 200
    """
    from maccli.evaluation.studies import abstention as study

    finish(ctx, given, plan_of(given, "abstention"), study.run)


@study.command("prune-curve")
@data_option
@click.option(
    "--strategy",
    "strategies",
    multiple=True,
    metavar="STRATEGY",
    help="A strategy of `mac store prune`. Repeat it to compare.  [default: all]",
)
@click.option(
    "--percent",
    "percentages",
    multiple=True,
    type=click.IntRange(1, 100),
    metavar="N",
    help="Leave N percent of the modulations. Repeat it.  [default: 100, 75, 50, 25, 10]",
)
@options.apply(*DATA, models_option, k_option, store_option, *RESULTS)
@click.pass_context
def prune_curve(
    ctx: click.Context,
    /,
    strategies: tuple[str, ...],
    percentages: tuple[int, ...],
    **given: Any,
) -> None:
    """Measure answers from pruned stores.

    Copies of the store are pruned to several sizes and asked the same questions.

    \b
    Example:
      mac study prune-curve --data questions.jsonl --strategy merge --percent 50 --report curve.svg
    """
    from maccli.evaluation.studies import prune_curve as study

    if len(given["ks"]) > 1:
        raise click.UsageError("prune-curve takes one -k.")
    plan = plan_of(given, "prune-curve")
    finish(ctx, given, plan, lambda evaluation: study.run(evaluation, strategies, percentages))


@study.command()
@data_option
@options.apply(*DATA, one_model_option, *METHOD, store_option, *RESULTS)
@click.pass_context
def sources(ctx: click.Context, /, **given: Any) -> None:
    """Measure every data file in a store of its own.

    \b
    Example:
      mac study sources --data squad.json --data films.jsonl --limit 60 --method mac -k 3
    """
    from maccli.evaluation.studies import sources as study

    finish(ctx, given, plan_of(given, "sources", DEFAULT_METHODS), study.run)


@study.command("language-modelling")
@click.argument("file", type=FILE)
@options.apply(limit_articles_option, DATA[3], one_model_option, *RESULTS)
@click.pass_context
def language_modelling(ctx: click.Context, /, file: Path, **given: Any) -> None:
    """Measure perplexity with articles amortized.

    The later halves of articles are predicted from the earlier ones. FILE holds JSON lines with
    text, and doc_id where there is one. The earlier half is given as nothing, as constant tokens,
    as modulations, as faint ones and as text.

    \b
    Example:
      mac study language-modelling articles.jsonl --limit 100
    """
    from maccli.evaluation.studies import language_modelling as study

    plan = plan_of({**given, "data": (file,)}, "language-modelling")
    finish(ctx, given, plan, study.run)


@study.command("own-documents")
@click.argument("paths", nargs=-1, required=True, type=click.Path())
@options.number(
    "--questions",
    "wanted",
    help="Generate N questions from the files with the frozen model; they are marked as "
    "machine-made.",
)
@click.option(
    "--keep",
    type=FILE,
    metavar="FILE",
    help="Save the generated questions here, to ask them again with --data.",
)
@click.option(
    "--data",
    multiple=True,
    type=FILE,
    metavar="FILE",
    help="Ask these questions with documents instead of generated ones. Repeat it to join.",
)
@options.apply(*DATA, one_model_option, *METHOD, store_option, *RESULTS)
@click.pass_context
def own_documents(
    ctx: click.Context,
    /,
    paths: tuple[str, ...],
    wanted: int | None,
    keep: Path | None,
    **given: Any,
) -> None:
    """Measure methods on your own files.

    The files are read as `mac ingest` reads them. Generated questions are rough: use them to
    compare settings, and questions of your own for figures.

    \b
    Examples:
      mac study own-documents notes --questions 100 --keep questions.jsonl
      mac study own-documents notes --data questions.jsonl --method mac --method rag-hybrid
    """
    from maccli.evaluation.studies import own_documents as study

    if (wanted is None) == (not given["data"]):
        raise click.UsageError(
            "Give --questions N to generate questions, or --data FILE to ask those."
        )
    if keep is not None:
        if wanted is None:
            raise click.UsageError("--keep needs generated questions: --questions N.")
        if keep.exists() and not given["resume"]:
            raise click.UsageError(f"There is a file {keep} already.")
    plan = plan_of(given, "own-documents", DEFAULT_METHODS)
    documents = study.OwnFiles.read(paths)
    settings = documents.settings(wanted)
    finish(ctx, given, plan, lambda whole: study.run(whole, documents, wanted, keep), settings)

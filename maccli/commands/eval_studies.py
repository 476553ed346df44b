"""The options of `mac eval` that say what else than files of questions is measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from maccli.evaluation.plan import Plan
    from maccli.evaluation.results import Results
    from maccli.output import Output
    from maccli.service.session import Session

_FILE = click.Path(dir_okay=False, path_type=Path)

_MOMENTS = 2
DATA = (
    click.option(
        "--docs",
        multiple=True,
        metavar="FOLDER",
        help="Your own files, as mac ingest reads them, in the memory; repeat it.",
    ),
    click.option(
        "--make-questions",
        type=click.IntRange(min=1),
        metavar="N",
        help="Ask N questions that the frozen model makes from --docs, marked as machine-made.",
    ),
    click.option(
        "--keep-questions",
        type=_FILE,
        metavar="FILE",
        help="Keep those, to be given with --data later.",
    ),
    click.option(
        "--each", is_flag=True, help="Every --data file in a memory of its own, one table."
    ),
    click.option(
        "--language-modelling",
        type=_FILE,
        metavar="FILE",
        help="Instead of methods: perplexity of articles' later halves given the earlier ones.",
    ),
)
MEASURES = (
    click.option(
        "--moments",
        type=click.IntRange(2, 20),
        default=_MOMENTS,
        show_default=True,
        help="Of --retention: how often it is asked while the stream goes on.",
    ),
    click.option(
        "--amortize-late",
        is_flag=True,
        help="Amortize chunks only when first selected: for large banks; costs stay unknown.",
    ),
)
_QUESTIONS = ("data", "docs", "methods", "ks", "retention", "abstention", "bank_sizes", "rates")
_OPTION = {"methods": "--method", "ks": "-k", "rates": "--lr"}


def kind(given: dict[str, Any]) -> str:
    """Return the kind of the results."""
    if given["language_modelling"]:
        return "language-modelling"
    if given["each"]:
        return "each"
    return "prune-curve" if given["prune_curve"] else "methods"


def of_one(given: dict[str, Any]) -> bool:
    """Tell whether what is asked for can be measured with one checkpoint only."""
    return bool(given["language_modelling"] or given["each"] or given["docs"])


def check(given: dict[str, Any]) -> None:
    """Refuse options that do not go together.

    Raises:
        UsageError: they do not.
    """
    if of_one(given) and len(set(given["models"])) > 1:
        raise click.UsageError("--docs, --each and --language-modelling take one -m.")
    if given["language_modelling"]:
        _refuse(given, "language-modelling", (*_QUESTIONS, "each", "prune_curve", "distractors"))
    elif not (given["data"] or given["make_questions"]):
        hint = " Add --make-questions N." if given["docs"] else ""
        raise click.UsageError(f"Missing option '--data'.{hint}")
    if given["make_questions"]:
        if not given["docs"]:
            raise click.UsageError("--make-questions needs the files to make them of: --docs.")
        _refuse(given, "make-questions", ("data", "each"))
    if given["keep_questions"] and not given["make_questions"]:
        raise click.UsageError("--keep-questions is an option of --make-questions.")
    if given["keep_questions"] and given["keep_questions"].exists() and not given["resume"]:
        raise click.UsageError(f"There is a file {given['keep_questions']} already.")
    if given["moments"] != _MOMENTS and not given["retention"]:
        raise click.UsageError("--moments is an option of --retention.")
    if given["amortize_late"]:
        _refuse(given, "amortize-late", ("prune_curve", "language_modelling"))
        if "all" in given["ks"]:
            raise click.UsageError("-k all reads every modulation: leave --amortize-late out.")
    if given["each"]:
        _refuse(given, "each", ("prune_curve", "retention", "abstention", "bank_sizes", "docs"))


def _refuse(given: dict[str, Any], option: str, names: tuple[str, ...]) -> None:
    for name in names:
        if given[name]:
            own = _OPTION.get(name, f"--{name.replace('_', '-')}")
            raise click.UsageError(f"{own} does not go with --{option}.")


def prepared(
    out: Output,
    given: dict[str, Any],
    plan: Plan,
    session: Session,
    folder: Path,
    begin: Callable[[dict[str, Any]], Results],
) -> tuple[Plan, Results]:
    """Return the plan with --docs in it, if there are any, and the results that are begun for it.

    `begin` gets the settings beyond the plan's own.
    """
    if not given["docs"]:
        return plan, begin({})
    from maccli.evaluation.studies import own_documents

    own = own_documents.read(given["docs"])
    made = given["make_questions"]
    results = begin(own_documents.settings(own, made))
    plan = own_documents.prepare(
        plan, own, session, results, folder, made=made, bars=out.progress, note=out.note
    )
    if given["keep_questions"]:
        own_documents.keep(plan, given["keep_questions"])
    return plan, results

"""`mac eval`: how well each method answers, side by side."""

# ruff: noqa: D301 - click takes \b as the beginning of lines that are not wrapped
from __future__ import annotations

import shlex
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from maccli import config, errors
from maccli.commands import eval_options, eval_studies, options, rival_options
from maccli.commands.eval_options import DEFAULT_METHODS, METHODS
from maccli.output import Output
from store.pruning import STRATEGIES

if TYPE_CHECKING:
    from maccli.evaluation.plan import Evaluation
    from maccli.evaluation.results import Results

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("eval")
@click.option(
    "--data",
    multiple=True,
    type=_FILE,
    metavar="FILE",
    help="Questions with documents: JSON lines, SQuAD JSON or CSV, also .zst. Repeat it to join.",
)
@click.option(
    "--distractors",
    multiple=True,
    type=_FILE,
    metavar="FILE",
    help="Documents without questions, in the memory, too: JSON lines with doc or text.",
)
@click.option("--split", help="Only what belongs to this split of the data.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help="So many questions, drawn at random.  [default: all]",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of all that is drawn.")
@options.apply(*eval_studies.DATA)
@click.option(
    "-m",
    "--model",
    "models",
    multiple=True,
    metavar="MODEL",
    help="A checkpoint's name or folder, instead of $MAC_MODEL; repeat it to compare.",
)
@click.option(
    "--method",
    "methods",
    multiple=True,
    type=click.Choice(METHODS),
    metavar="METHOD",
    help=f"One of {', '.join(METHODS)}. Repeat it to compare.  "
    f"[default: {', '.join(DEFAULT_METHODS)}]",
)
@click.option(
    "-k",
    "ks",
    multiple=True,
    callback=eval_options.number_or_all(1),
    metavar="N|all",
    help="Chunks a question selects, or all of them (the paper's stack); repeat it to compare.  "
    "[default: as trained]",
)
@click.option(
    "--group",
    callback=eval_options.number_or_all(2),
    metavar="N|all",
    help="Documents the paper's stack aggregates at once; more hierarchically.  "
    "[default: as trained]",
)
@click.option(
    "--retriever",
    "retrievers",
    multiple=True,
    metavar="ENCODER",
    help="Search by this sentence encoder, too: a folder or Hub id, or DOCUMENTS,QUESTIONS. "
    "Repeat it to compare.",
)
@click.option("--lexical", type=float, help="BM25's weight in hybrid.  [default: as trained]")
@click.option(
    "--rag-prefix",
    type=_FILE,
    metavar="FILE",
    help="Trained constant tokens, which the rag-prefix methods need.",
)
@options.apply(*rival_options.eval_options)
@click.option(
    "--retention",
    is_flag=False,
    flag_value=200,
    type=click.IntRange(min=1),
    metavar="[N]",
    help="Ask about the first N documents (200) early and at the end.",
)
@options.apply(*eval_studies.MEASURES)
@click.option(
    "--abstention", is_flag=True, help="Ask with the right document in the bank, and without it."
)
@click.option(
    "--bank-sizes",
    callback=eval_options.sizes,
    metavar="N,N...",
    help="Ask the same questions of banks of so many documents.",
)
@click.option(
    "--prune-curve", is_flag=True, help="Instead of methods: what pruning costs in answers."
)
@click.option(
    "--strategy",
    "strategies",
    multiple=True,
    type=click.Choice(STRATEGIES),
    help="Of --prune-curve; repeat it to compare.  [default: all]",
)
@click.option(
    "--size",
    "sizes",
    multiple=True,
    type=click.IntRange(1, 100),
    metavar="PERCENT",
    help="Of --prune-curve: what is left; repeat it.  [default: 100, 75, 50, 25, 10]",
)
@click.option(
    "--store",
    "store_folder",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the bank here and use it again.  [default: a temporary one]",
)
@options.apply(options.device_option)
@click.option("--out", type=_FILE, metavar="FILE", help="Keep all figures and answers as JSON.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.option(
    "--plot",
    type=_FILE,
    metavar="FILE",
    callback=eval_options.picture,
    help="Draw F1: .png, .svg or .pdf.",
)
@click.option("--report", type=_FILE, metavar="FILE", help="Write all of it as one HTML page.")
@options.apply(options.json_option, options.quiet_option)
@click.pass_context
def evaluate(
    ctx: click.Context,
    /,
    plot: Path | None,
    report: Path | None,
    as_json: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Measure how well each method answers your questions.

    All methods have the same frozen model. All documents of the data go into an empty memory, in
    order; then the questions that stand on their own are asked. rag reads the text of what it finds
    in its prompt, mac its modulations; -bm25, -dense and -hybrid say how it is found (mac: hybrid),
    and oracle is given the right document. mac+text reads the text of the best chunk besides.
    rag-lora reads with a model tuned to read. uniform, salient-spans and camels tune a copy of the
    model on the documents, which qa-base is before. With several checkpoints (-m) what needs none
    is measured once for each base model.

    \b
    Examples:
      mac eval --data questions.jsonl --method mac --method rag-hybrid -k 1 -k 3 --limit 300
      mac eval --data questions.jsonl -m smollm2-135m -m ./mine --method mac --method rag-hybrid
      mac eval --data questions.jsonl --out result.json --resume --report result.html
      mac eval --data q.jsonl --method uniform --qa-base qa --tune-on train.jsonl:dev
      mac eval --data questions.jsonl --prune-curve --strategy merge --size 50 --plot curve.png
      mac eval --docs notes --make-questions 100 --keep-questions asked.jsonl
      mac eval --language-modelling articles.jsonl --limit 100
    """
    from maccli.evaluation.report import plots

    eval_options.check(given, plot)
    eval_studies.check(given)
    eval_options.check_folders(given["out"], plot, report, given["keep_questions"])
    if plot is not None or report is not None:
        plots.require()
    out = Output(json=as_json, quiet=quiet)
    try:
        results = _measure(out, given)
    except KeyboardInterrupt:
        where = given["out"]
        kept = f" What was measured is in {where}: add --resume to go on." if where else ""
        out.warn(f"interrupted.{kept}")
        ctx.exit(errors.INTERRUPTED)
    if plot is not None:
        plots.evaluation(results.data, plot)
    if report is not None:
        from maccli.evaluation.report.page import page

        report.write_text(page(results.data, plots.evaluation_svgs(results.data)), "utf-8")
    if out.json:
        out.record(results.data)
    else:
        _show(out, results)


def _measure(out: Output, given: dict[str, Any]) -> Results:
    """Run what the options ask for and return its results."""
    from maccli.evaluation.common import Common
    from maccli.evaluation.lineup import line_up
    from maccli.evaluation.plan import Evaluation, Plan
    from maccli.evaluation.results import Results
    from maccli.evaluation.studies import each, language_modelling
    from maccli.service.session import Session

    others = given["retention"] or given["abstention"] or given["bank_sizes"]
    articles = given["language_modelling"]
    repeated = ("methods", "ks", "retrievers")
    once = {name: tuple(dict.fromkeys(given[name])) for name in repeated}
    plan = Plan(
        data=(articles,) if articles else given["data"],
        distractors=given["distractors"],
        split=given["split"],
        methods=once["methods"] or (() if others else DEFAULT_METHODS),
        ks=once["ks"],
        limit=given["limit"],
        seed=given["seed"],
        lexical=given["lexical"],
        rag_prefix=given["rag_prefix"],
        retrievers=once["retrievers"],
        group=given["group"],
        amortize_late=given["amortize_late"],
        **rival_options.plan(given),
    )
    device = config.text("device", given["device"])
    with ExitStack() as stack:
        folder = given["store_folder"]
        if folder is None:
            temporary = stack.enter_context(tempfile.TemporaryDirectory(prefix="mac-eval-"))
            folder = Path(temporary) / "store"
        models = given["models"] or (config.text("model", None),)
        entrants = line_up(models, folder.expanduser().absolute(), device)
        transfer = stack.enter_context(out.transfers())
        settings = plan.settings(entrants, eval_studies.kind(given))
        command = shlex.join(["mac", *sys.argv[1:]])

        def begin(more: dict[str, Any]) -> Results:
            return Results.begin(given["out"], settings | more, command, resume=given["resume"])

        shown: dict[str, Any] = {"bars": out.progress, "note": out.note}
        if eval_studies.of_one(given):
            session = stack.enter_context(Session(entrants[0].place, transfer=transfer))
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mac-eval-")))
            plan, results = eval_studies.prepared(out, given, plan, session, scratch, begin)
            if articles:
                language_modelling.run(
                    session, results, articles, limit=plan.limit, seed=plan.seed, **shown
                )
            elif given["each"]:
                each.run(session, plan, results, session.place.store, **shown)
            else:
                evaluation = Evaluation(session, plan, results, **shown)
                _run(stack.enter_context(evaluation), given)
            return results
        results = begin({})
        common = Common(plan, out.note, device=device, transfer=transfer)
        # One after the other, so that no checkpoint's models are in memory beside another's.
        for entrant in entrants:
            with (
                Session(entrant.place, transfer=transfer) as session,
                Evaluation(
                    session, plan, results, entrant=entrant, common=common, **shown
                ) as evaluation,
            ):
                _run(evaluation, given)
            del session, evaluation
    return results


def _run(evaluation: Evaluation, given: dict[str, Any]) -> None:
    from maccli.evaluation import compare
    from maccli.evaluation.studies import prune_curve, studies

    if given["prune_curve"]:
        prune_curve.run(evaluation, given["strategies"], given["sizes"])
        return
    compare.run(evaluation)
    if given["bank_sizes"]:
        studies.bank_sizes(evaluation, given["bank_sizes"])
    if given["retention"]:
        studies.retention(evaluation, given["retention"], given["moments"])
    if given["abstention"]:
        studies.abstention(evaluation)


def _show(out: Output, results: Results) -> None:
    """Write the tables, in Markdown."""
    from maccli.evaluation.report.tables import tables

    for number, table in enumerate(tables(results.data)):
        if number:
            out.text()
        out.text(table.about)
        out.text()
        for line in table.markdown():
            out.text(line)

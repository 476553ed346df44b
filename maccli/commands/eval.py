"""`mac eval`: how well each method answers, side by side. `mac study` shares its options."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from maccli import config, errors
from maccli.commands import options
from maccli.evaluation.methods import ALL, DEFAULT_METHODS, FILES, Method, parse_all
from maccli.output import Output

if TYPE_CHECKING:
    from maccli.evaluation.evaluation import Evaluation
    from maccli.evaluation.plan import Plan
    from maccli.evaluation.results import Results

FILE = click.Path(dir_okay=False, path_type=Path)


def _methods(_: click.Context, __: click.Parameter, names: tuple[str, ...]) -> tuple[Method, ...]:
    """Read the names of methods."""
    try:
        return parse_all(names)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _ks(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> tuple[int | str, ...]:
    """Read numbers from 1 on, or the word `all`."""
    for text in given:
        if text != ALL and not (text.isascii() and text.isdecimal() and int(text)):
            raise click.BadParameter(f"{text!r} is neither a number from 1 on nor all.")
    return tuple(dict.fromkeys(text if text == ALL else int(text) for text in given))


def _files(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, Path]:
    """Read NAME=PATH."""
    files = {}
    for text in given:
        name, equals, path = text.partition("=")
        if name not in FILES or not equals:
            raise click.BadParameter(f"{text!r}: give NAME=PATH; NAME is {', '.join(FILES)}.")
        files[name] = Path(path).expanduser()
        if not files[name].exists():
            raise click.BadParameter(f"There is no {path!r}.")
    return files


def _out(_: click.Context, __: click.Parameter, path: Path | None) -> Path | None:
    """Refuse a file in a folder that does not exist, before anything is measured."""
    if path is not None and not path.parent.is_dir():
        raise click.BadParameter(f"There is no folder {path.parent} to write {path.name} into.")
    return path


def _report(ctx: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
    """Refuse a page or picture that cannot be written, before anything is measured."""
    from maccli.evaluation.report import plots

    if path is not None:
        suffixes = (".html", *plots.FORMATS)
        if path.suffix.lower() not in suffixes:
            raise click.BadParameter(f"{path}: its name must end in {', '.join(suffixes)}.")
    return _out(ctx, parameter, path)


data_option = click.option(
    "--data",
    multiple=True,
    required=True,
    type=FILE,
    metavar="FILE",
    help="Questions with documents: JSON lines, SQuAD JSON or CSV, also .gz or .zst. "
    "Repeat it to join.",
)
DATA = (
    click.option(
        "--distractors",
        multiple=True,
        type=FILE,
        metavar="FILE",
        help="Add documents without questions: JSON lines with doc or text.",
    ),
    click.option("--split", metavar="NAME", help="Use only this split of the data."),
    options.number("--limit", help="Draw N questions at random.  [default: ask all]"),
    options.seed_option,
)
models_option = click.option(
    "-m",
    "--model",
    "models",
    multiple=True,
    metavar="MODEL",
    help="A checkpoint's name or folder, instead of $MAC_MODEL. Repeat it to compare.",
)
k_option = click.option(
    "-k",
    "ks",
    multiple=True,
    callback=_ks,
    metavar="N|all",
    help="Chunks that a question selects; with the paper's stack, all reads every chunk. Repeat it "
    "to compare.  [default: as trained]",
)


def method_options(where: str) -> tuple[options.Decorator, ...]:
    """Return --method, -k and --with; `where` says where the methods are listed."""
    return (
        click.option(
            "--method",
            "methods",
            multiple=True,
            callback=_methods,
            metavar="METHOD",
            help=f"A method, {where}. Repeat it to compare.",
        ),
        k_option,
        click.option(
            "--with",
            "files",
            multiple=True,
            callback=_files,
            metavar="NAME=PATH",
            help="A trained file for a method: rag-lora, qa-base and camels are made by "
            "`mac train-rival`, rag-prefix by `python -m benchmarks.text_prefix`.",
        ),
    )


store_option = click.option(
    "--store",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Keep the store here and use it again.  [default: a temporary one]",
)
RESULTS = (
    click.option(
        "--out", type=FILE, metavar="FILE", callback=_out, help="Keep figures and answers as JSON."
    ),
    click.option("--resume", is_flag=True, help="Go on with the run in --out."),
    click.option(
        "--report",
        type=FILE,
        metavar="FILE",
        callback=_report,
        help="Write tables and pictures as one page (.html), or the pictures "
        "alone (.png, .svg, .pdf).",
    ),
    options.device_option,
    options.json_option,
    options.quiet_option,
)


@click.command("eval")
@data_option
@options.apply(*DATA, models_option, *method_options("as listed above"), store_option, *RESULTS)
@click.pass_context
def evaluate(ctx: click.Context, /, **given: Any) -> None:
    """Measure how well each method answers your questions.

    The documents are stored in their order, in a temporary store or that of --store; then those
    questions are asked that make sense without their document, all of the same frozen model.

    \b
    Methods, and what each answers from:
      closed-book                       the question alone
      rag-bm25, -dense, -hybrid         the text of the chunks that a search selects
      rag-prefix-bm25, -dense, -hybrid  the same, after trained constant tokens
      rag-lora-bm25, -dense, -hybrid    the same, with a trained adapter
      rag-extractive                    their text, read by the judge alone
      mac                               the chunks' modulations and the judge, as mac ask
      mac-fast, mac-bm25, mac-dense     the modulations alone; mac-fast is hybrid
      mac+text                          those, and the text of the best chunk
      oracle, mac-oracle, mac-fast-oracle, rag-prefix-oracle, rag-lora-oracle
                                        the right document
      uniform, salient-spans, camels    the question; the model is tuned on the documents
      qa-base                           the question; the model that tuning starts from
      rag@ENCODER, uniform@1e-4         another encoder (folder or Hub id); a learning rate
    By default: closed-book, rag-hybrid, mac, oracle and mac-oracle.

    \b
    Examples:
      mac eval --data questions.jsonl --method mac --method rag-hybrid -k 1 -k 3 --limit 300
      mac eval --data questions.jsonl --out result.json --resume --report result.html
      mac eval --data questions.jsonl -m smollm2-135m -m ./mine --method mac
      mac eval --data questions.jsonl --method rag-lora-hybrid --with rag-lora=./rag-lora
      mac eval --data questions.jsonl --method mac@facebook/contriever
    """
    from maccli.evaluation import compare

    finish(ctx, given, plan_of(given, "methods", DEFAULT_METHODS), compare.run)


def plan_of(given: dict[str, Any], kind: str, default: tuple[str, ...] = ("mac",)) -> Plan:
    """Return the plan that the options mean.

    Args:
        given: the options' values.
        kind: "methods", or the name of the study.
        default: the methods, where none are named.

    Raises:
        UsageError: a method needs a file that was not given, or there is nothing to draw.
        ModuleNotFoundError: matplotlib is not installed, and there is something to draw.
    """
    from maccli.evaluation.plan import Plan
    from maccli.evaluation.report import plots

    report = given["report"]
    if report and kind in plots.drawn_kinds():
        plots.require()
    elif report and report.suffix.lower() in plots.FORMATS:
        raise click.UsageError(f"There is no picture of {kind}; write a page: --report FILE.html.")
    methods = given.get("methods") or parse_all(default)
    files = given.get("files", {})
    for method in methods:
        for name in method.files:
            if name not in files:
                raise click.UsageError(f"The method {method.name} needs --with {name}=PATH.")
    return Plan(
        kind,
        given.get("data", ()),
        given.get("distractors", ()),
        given.get("split"),
        given["limit"],
        given["seed"],
        methods,
        given.get("ks", ()),
        files,
    )


def finish(
    ctx: click.Context,
    given: dict[str, Any],
    plan: Plan,
    measure: Callable[[Evaluation], None],
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Measure what a command is for, and write the results as the options say.

    Args:
        ctx: of the command.
        given: the options' values.
        plan: what is measured.
        measure: measures one checkpoint.
        settings: see `maccli.evaluation.run.run`.

    Raises:
        UsageError: options do not go together.
    """
    from maccli.evaluation.run import run

    if given["resume"] and given["out"] is None:
        raise click.UsageError("--resume needs the file to go on with: --out FILE.")
    out = Output(json=given["as_json"], quiet=given["quiet"])
    models = given["models"]
    models = (models,) if isinstance(models, str) else models
    try:
        with out.transfers() as transfer:
            results = run(
                plan,
                measure,
                models=models or (config.text("model", None),),
                device=config.text("device", given["device"]),
                command=shlex.join(["mac", *sys.argv[1:]]),
                bars=out.progress,
                note=out.note,
                transfer=transfer,
                out=given["out"],
                resume=given["resume"],
                store=given.get("store"),
                settings=settings,
            )
    except KeyboardInterrupt:
        hint = ""
        if given["out"]:
            hint = f" What was measured is in {given['out']}: add --resume to go on."
        out.warn(f"interrupted.{hint}")
        ctx.exit(errors.INTERRUPTED)
    _write(results, given["report"])
    if out.json:
        out.record(results.as_dict())
    else:
        _show(out, results)


def _write(results: Results, report: Path | None) -> None:
    """Write the page or the picture, if one is asked for."""
    if report is None:
        return
    from maccli.evaluation.report import plots
    from maccli.evaluation.report.page import page
    from models.files import replace_file

    if report.suffix.lower() == ".html":
        replace_file(report, page(results, plots.svgs(results)).encode("utf-8"))
    else:
        plots.picture(results, report)


def _show(out: Output, results: Results) -> None:
    """Write the tables, in Markdown."""
    from maccli.evaluation.report.tables import tables

    for number, table in enumerate(tables(results)):
        if number:
            out.text()
        out.text(table.about)
        out.text()
        for line in table.markdown():
            out.text(line)

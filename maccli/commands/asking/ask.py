"""`mac ask`: a question, an answer, and where it came from."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from maccli import errors, output
from maccli.commands import options
from maccli.output import Output, count
from maccli.reading.files import displayed
from maccli.service.evidence import COUNTS
from maccli.service.sources import where
from models.errors import CheckpointError, ModelError, UnsupportedModelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from maccli.service.ask import Answer
    from maccli.service.search import Passage
    from maccli.service.sources import Source


_AROUND = 300
"""Characters of a passage that are shown before and after its sentence, up to a line's end."""
_SHORT = 200
"""Characters of a passage that is shown in one line."""
_LINE_ENDS = re.compile(r"\n+")


@click.command()
@click.argument("question", nargs=-1, required=True)
@options.apply(options.k_option, options.retriever_option, options.fast_option)
@click.option(
    "--mode",
    type=click.Choice(["mac", "rag", "closed-book"]),
    default="mac",
    show_default=True,
    help="Answer from the memory, from text in the prompt, or from the model alone.",
)
@click.option(
    "--free",
    is_flag=True,
    help="Answer in the language model's own words, however likely they are right.",
)
@options.only_options
@options.setting(
    "max_new_tokens",
    "--max-new-tokens",
    type=click.IntRange(min=1),
    metavar="N",
    help="The longest answer, in tokens.  [default: 32]",
)
@options.asking_options
@options.apply(options.local_option, options.json_option, options.nl_option)
@click.option("--strict", is_flag=True, help="Exit with 3, too, if the answer is not sure.")
@click.option("-q", "--quiet", is_flag=True, help="Write the answer only, without sources.")
@click.option(
    "-v", "--verbose", is_flag=True, help="Show every source, and how long each step took."
)
@click.pass_context
def ask(
    ctx: click.Context,
    /,
    question: tuple[str, ...],
    stores: tuple[Path, ...],
    model: str | None,
    device: str | None,
    local: bool,
    as_json: bool,
    as_nl: bool,
    strict: bool,
    quiet: bool,
    verbose: bool,
    **how: Any,
) -> None:
    """Answer a question from the store, and name the sources.

    The number beside an answer is how likely it is right. Where it is probably wrong, the passage
    that may hold the answer is shown in its place. With -, questions are read from standard input,
    one a line, and the model is loaded once. A running `mac serve` of the same store and model is
    asked by itself, and nothing is loaded. The exit code is 3 if nothing relevant was found. A
    document without a date is dated by the day it was added (UTC).

    \b
    Examples:
      mac ask "Who won the sailing race?"
      mac ask "Who won?" --tag sport --since 2026-01-01
      mac ask --json -k 3 "When does the bridge open?" | jq -r .answer
      mac ask - --nl < questions.txt
    """
    out = Output(json=as_json, nl=as_nl, quiet=quiet)
    with options.open_served_mac(out, stores, model, device, local=local, verbose=verbose) as mac:
        asker = Asker(out, partial(mac.ask, **how), strict=strict, verbose=verbose)
        if question == ("-",):
            code = asker.ask_many(questions())
        else:
            code = asker.ask_one(" ".join(question))
    ctx.exit(code)


def questions() -> Iterator[str]:
    """Yield questions from standard input, without empty lines; prompt on a terminal."""
    while True:
        if sys.stdin.isatty():
            click.echo("> ", nl=False, err=True)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()


def refusal(error: errors.MacError | ModelError) -> errors.MacError:
    """Return why a question is refused.

    Raises:
        MacError, ModelError: the error itself, if every other question would be refused for it.
    """
    why = errors.explain(error)
    if why is None or why.exit_code == errors.NOTHING_FOUND:  # the store is empty
        raise error
    if isinstance(error, CheckpointError | UnsupportedModelError):
        raise error
    return why


class Asker:
    """Asks and writes; holds what the ways for one and for many questions share."""

    def __init__(
        self, out: Output, run: Callable[..., Answer], *, strict: bool, verbose: bool
    ) -> None:
        self.out = out
        self.run = run
        self.failing = ("not sure", "nothing relevant") if strict else ("nothing relevant",)
        # A pipe gets the answer when it is complete, so that nothing in it is taken back.
        self.stream = out.human and sys.stdout.isatty()
        self.verbose = verbose

    def ask_one(self, question: str) -> int:
        """Ask one question; return the exit code."""
        answer = self._ask(question)
        self._write(answer)
        return errors.NOTHING_FOUND if answer.outcome in self.failing else errors.DONE

    def ask_many(self, questions: Iterator[str]) -> int:
        """Ask many; one that is refused does not stop the others. Return the exit code."""
        answers: list[Answer] = []
        failed = False
        for question in questions:
            if self.out.human and not sys.stdin.isatty():
                self.out.text(f"> {question}")
            try:
                answer = self._ask(question)
            except (errors.MacError, ModelError) as error:
                why = refusal(error)
                output.error(why.message, why.hint)
                failed = True
                continue
            answers.append(answer)
            if not self.out.json or self.out.nl:
                self._write(answer)
            if self.out.human:
                self.out.text()
        if self.out.json and not self.out.nl:
            self.out.records([answer.as_dict() for answer in answers])
        if failed:
            return errors.FAILED
        unanswered = bool(answers) and all(answer.outcome in self.failing for answer in answers)
        return errors.NOTHING_FOUND if unanswered else errors.DONE

    def _ask(self, question: str) -> Answer:
        begun = False

        def on_text(piece: str) -> None:
            nonlocal begun
            piece = piece if begun else piece.lstrip()
            begun = begun or bool(piece)
            self.out.text(piece, end="")

        answer = self.run(question, on_text=on_text if self.stream else None)
        if begun:
            self.out.text()
        return answer

    def _write(self, answer: Answer) -> None:
        out = self.out
        if not out.human:
            out.record(answer.as_dict())
        elif answer.abstained:
            brief = out.quiet and answer.outcome == "not sure"
            out.text("Not sure." if brief else answer.excuse)
        elif not self.stream:
            out.text(answer.answer)
        if out.human and not out.quiet and answer.sources:
            self._write_sources(answer)
        if self.verbose:
            steps = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in answer.timings.items())
            out.note(f"{steps}; {count(answer.prefix_tokens, 'prefix token')}")

    def _write_sources(self, answer: Answer) -> None:
        """Write the source that says the answer with its passage, and the others in a line each.

        Where none says it, that is the best one. Sources whose weight rounds to nothing, and all
        after the third, are written with --verbose only.
        """
        out = self.out
        if answer.request == "summary":
            out.text(f"  {displayed(answer.sources[0].source)}")
            for source in answer.sources:
                place = f"{source.place}: " if source.place else ""
                out.text(f"    {place}{_shortened(source.text)}")
            return
        first = next((source for source in answer.sources if source.marked), answer.sources[0])
        others = [source for source in answer.sources if source is not first]
        if answer.outcome != "not sure":
            heading = "Nearest passage:" if answer.abstained else "Source:"
            if answer.probability is not None:
                words = "In its own words, " if answer.free else ""
                heading = f"{words}{100 * answer.probability:.0f} % sure. {heading}"
            out.text(f"\n{heading}")
        out.text(f"  {where(first)}")
        write_notes(out, first, "  ")
        text, span = _excerpt(first)
        out.marked(text, span, output.marks())
        shown = others if self.verbose else [s for s in others[:2] if s.weight >= COUNTS]
        if shown:
            out.text("\nOther passages:")
        for source in shown:
            out.text(f"  {where(source)}  {_shortened(source.text)}")
            write_notes(out, source, "    ")


def write_notes(out: Output, found: Source | Passage, indent: str = "") -> None:
    """Write where the same passage stands besides, and whether its file has changed since."""
    if found.also:
        more = f" and {len(found.also) - 3:,} more" if len(found.also) > 3 else ""
        out.text(f"{indent}also in {'; '.join(map(where, found.also[:3]))}{more}")
    if found.stale:
        out.text(f"{indent}an older version of the file, which {found.stale} now")


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHORT else line[: _SHORT - 1] + "…"


def _excerpt(source: Source) -> tuple[str, tuple[int, int]]:
    """Return what is shown of a source's passage, indented, and where the answer stands in it.

    Of a long passage it is the part around the sentence that the source is.
    """
    passage = source.passage
    at = passage.find(source.text)
    begin = passage.rfind("\n", 0, max(0, at - _AROUND)) + 1
    end = passage.find("\n", min(len(passage), at + len(source.text) + _AROUND))
    end = len(passage) if end < 0 else end
    low, high = source.marked or (begin, begin)
    parts = (passage[begin:low], passage[low:high], passage[high:end])
    indented = [_LINE_ENDS.sub("\n    ", part) for part in parts]
    text = "    " + "".join(indented)
    start = 4 + len(indented[0])
    return text, (start, start + len(indented[1]))

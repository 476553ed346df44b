"""`mac ask`: a question, an answer, and where it came from."""

# ruff: noqa: D301 - click takes \b as the beginning of lines that are not wrapped
from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from maccli import config, errors, output
from maccli.commands import options
from maccli.output import Output, count

if TYPE_CHECKING:
    from maccli.service.ask import Answer, Options
    from maccli.service.session import Session
    from store.labels import Within


@click.command()
@click.argument("question", nargs=-1, required=True)
@click.option("-k", type=click.IntRange(min=1), help="Chunks to draw from.  [default: as trained]")
@click.option(
    "--retriever",
    type=click.Choice(config.RETRIEVERS),
    help="How chunks are found.  [default: hybrid]",
)
@click.option(
    "--mode",
    type=click.Choice(["mac", "rag", "closed-book"]),
    default="mac",
    show_default=True,
    help="From the memory, from text in the prompt, or from nothing.",
)
@options.apply(options.only_tag_option, options.since_option, options.until_option)
@click.option("--approximate", is_flag=True, help="Search by the index of mac store index.")
@click.option("--max-new-tokens", type=click.IntRange(min=1), help="Longest answer.  [default: 32]")
@click.option("--seed", type=int, help="Kept in the output; answers are not drawn at random.")
@click.option(
    "--export-adapter",
    "adapter",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write the modulation that answers into a new folder, for the peft library.",
)
@options.apply(options.store_option, options.model_option, options.device_option)
@click.option("--no-stream", is_flag=True, help="Write the answer when it is complete.")
@options.apply(options.json_option, options.nl_option)
@click.option("-q", "--quiet", is_flag=True, help="Write the answer only, no sources.")
@click.option(
    "-v", "--verbose", is_flag=True, help="Show every source, and how long each step took."
)
@click.pass_context
def ask(
    ctx: click.Context,
    question: tuple[str, ...],
    k: int | None,
    retriever: str | None,
    mode: str,
    tags: tuple[str, ...],
    since: str | None,
    until: str | None,
    approximate: bool,
    max_new_tokens: int | None,
    seed: int | None,
    adapter: Path | None,
    store_folder: str | None,
    model: str | None,
    device: str | None,
    no_stream: bool,
    as_json: bool,
    as_nl: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Answer a question from the store, with its sources.

    With - the questions are read from standard input, one a line, and the model is loaded once.
    Exit code 3 tells that nothing relevant was found. A document without a date counts as of the
    day on which it was added (in UTC).

    \b
    Examples:
      mac ask "Who won the sailing race?"
      mac ask "Who won?" --tag sport --since 2026-01-01
      mac ask --json -k 3 "When does the bridge open?" | jq -r .answer
      mac ask - --nl < questions.txt
      mac ask -k 1 "Who won?" --export-adapter who-won
    """
    if adapter is not None and (mode != "mac" or question == ("-",)):
        raise click.UsageError("--export-adapter is for one question with --mode mac.")
    from maccli.service.session import Session

    out = Output(json=as_json, nl=as_nl, quiet=quiet)
    chosen = options.within(tags, since, until)
    how = _how(k, retriever, mode, max_new_tokens, seed, chosen, approximate, adapter)
    with (
        out.transfers() as transfer,
        Session(options.place(store_folder, model, device), transfer=transfer) as session,
    ):
        if approximate:
            _check_index(out, session, chosen)
        asker = _Asker(out, session, how, stream=not no_stream, verbose=verbose)
        code = asker.each(_lines()) if question == ("-",) else asker.one(" ".join(question))
    ctx.exit(code)


def _check_index(out: Output, session: Session, within: Within) -> None:
    """Say where --approximate makes no difference, and fail now where it cannot work."""
    if within:
        out.warn("--approximate does not go with --tag, --since and --until: searching exactly.")
    elif session.store is not None and session.store.indexed() is None:
        out.warn("the store has no index for --approximate (mac store index): searching exactly.")


class _Asker:
    """Asks and writes; keeps what the commands for one and for many questions share."""

    def __init__(
        self, out: Output, session: Session, how: Options, *, stream: bool, verbose: bool
    ) -> None:
        self.out = out
        self.session = session
        self.how = how
        self.stream = stream and out.human
        self.verbose = verbose

    def one(self, question: str) -> int:
        """Ask one question; return the exit code."""
        answer = self._ask(question)
        self._write(answer)
        return errors.NOTHING_FOUND if answer.abstained else errors.DONE

    def each(self, questions: Iterator[str]) -> int:
        """Ask many; a question that cannot be asked does not stop the others."""
        answers: list[Answer] = []
        failed = False
        for question in questions:
            if self.out.human and not sys.stdin.isatty():
                self.out.text(f"> {question}")
            try:
                answer = self._ask(question)
            except errors.MacError as error:
                output.error(error.message, error.hint)
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
        everything_abstained = bool(answers) and all(answer.abstained for answer in answers)
        return errors.NOTHING_FOUND if everything_abstained else errors.DONE

    def _ask(self, question: str) -> Answer:
        from maccli.service.ask import ask as service_ask

        begun = False

        def on_text(piece: str) -> None:
            nonlocal begun
            piece = piece if begun else piece.lstrip()
            begun = begun or bool(piece)
            self.out.text(piece, end="")

        answer = service_ask(
            self.session, question, self.how, on_text=on_text if self.stream else None
        )
        if begun:
            self.out.text()
        return answer

    def _write(self, answer: Answer) -> None:
        out = self.out
        if not answer.documents and self.how.mode != "closed-book":
            out.warn(
                f"the store {self.session.place.store} is empty: "
                "this is the base model's own answer."
            )
        if not out.human:
            out.record(answer.as_dict())
        elif answer.abstained and not answer.searched:
            out.text("No document has the tags and dates asked for.")
        elif answer.abstained:
            out.text(f"Nothing relevant found in {count(answer.searched, 'document')}.")
        elif not self.stream:
            out.text(answer.answer)
        if out.human and not out.quiet and answer.sources:
            out.text()
            out.text("Nearest sources:" if answer.abstained else "Sources:")
            _write_sources(out, answer, everything=self.verbose)
        if self.how.adapter is not None and not answer.abstained:
            out.note(f"The modulation is in {self.how.adapter}, as an adapter for peft.")
        if self.verbose:
            steps = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in answer.timings.items())
            out.note(f"{steps}; {count(answer.prefix_tokens, 'prefix token')}")


def _write_sources(out: Output, answer: Answer, *, everything: bool) -> None:
    """Write the sources that count: a weight that rounds to nothing tells a reader nothing."""
    from maccli.reading.files import displayed

    shown = [s for i, s in enumerate(answer.sources) if everything or i == 0 or s.weight >= 0.01]
    for source in shown if everything else shown[:3]:
        where = f"{displayed(source.source)}[{source.start}:{source.end}]"
        out.text(f"  {source.weight:.2f}  {where}  {_shortened(source.text)}")


def _shortened(text: str, limit: int = 200) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _how(
    k: int | None,
    retriever: str | None,
    mode: str,
    max_new_tokens: int | None,
    seed: int | None,
    within: Within,
    approximate: bool,
    adapter: Path | None,
) -> Options:
    from maccli.service.ask import Options

    return Options(
        k=config.number("k", k),
        retriever=config.text("retriever", retriever),  # type: ignore[arg-type]  # checked there
        mode=mode,  # type: ignore[arg-type]  # one of the choices above
        max_new_tokens=config.number("max_new_tokens", max_new_tokens) or 1,
        seed=seed,
        within=within,
        adapter=adapter,
        approximate=approximate,
    )


def _lines() -> Iterator[str]:
    """Read questions from standard input, without empty lines; prompt on a terminal."""
    while True:
        if sys.stdin.isatty():
            click.echo("> ", nl=False, err=True)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()

"""`mac search`: the passages that a question would be answered from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from maccli import errors, output
from maccli.commands import options
from maccli.commands.asking.ask import questions, refusal, write_notes
from maccli.output import Output
from maccli.service.sources import where
from models.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from maccli.service.search import Passage


@click.command()
@click.argument("question", nargs=-1, required=True)
@options.apply(options.k_option, options.retriever_option, options.fast_option)
@options.only_options
@options.asking_options
@options.apply(options.local_option, options.json_option, options.nl_option)
@click.option(
    "--color/--no-color",
    default=None,
    help="Mark the matching part, or do not.  [default: on a terminal]",
)
@click.option("-q", "--quiet", is_flag=True, help="Write passages and errors only.")
@click.pass_context
def search(
    ctx: click.Context,
    /,
    question: tuple[str, ...],
    stores: tuple[Path, ...],
    model: str | None,
    device: str | None,
    local: bool,
    as_json: bool,
    as_nl: bool,
    color: bool | None,
    quiet: bool,
    **how: Any,
) -> None:
    """Show the passages that a question would be answered from.

    Each passage is shown whole, with where it stands and its score; the best-matching part is
    marked. No language model is loaded, and where `mac serve` runs with the same store and model,
    nothing at all. With -, questions are read from standard input, one a line. The exit code is 3
    if nothing was found.

    \b
    Examples:
      mac search "prize for a children's book"
      mac search -k 10 "bridge opening" --tag news
      mac search --json "Who won?" | jq -r '.[].text'
      mac search - --nl < questions.txt
    """
    out = Output(json=as_json, nl=as_nl, quiet=quiet)
    many = question == ("-",)
    with options.open_served_mac(out, stores, model, device, local=local) as mac:
        writer = _Writer(out, output.marks(color), many=many)
        wanted = questions() if many else iter([" ".join(question)])
        code = _search(partial(mac.search, **how), wanted, writer)
    ctx.exit(code)


def _search(run: Callable[[str], list[Passage]], questions: Iterator[str], writer: _Writer) -> int:
    """Search for each question; return the exit code."""
    found = failed = False
    for question in questions:
        try:
            passages = run(question)
        except (errors.MacError, ModelError) as error:
            if not writer.many:
                raise
            why = refusal(error)
            output.error(why.message, why.hint)
            failed = True
            continue
        found = found or bool(passages)
        writer.write(question, passages)
    writer.finish()
    if failed:
        return errors.FAILED
    return errors.DONE if found else errors.NOTHING_FOUND


class _Writer:
    """Writes the passages of one question or, with `many`, of several."""

    def __init__(self, out: Output, marks: tuple[str, str], *, many: bool) -> None:
        self.many = many
        self._out = out
        self._marks = marks
        self._records: list[dict[str, Any]] = []

    def write(self, question: str, passages: Sequence[Passage]) -> None:
        """Write the passages, the best one first; a JSON document waits for `finish`."""
        out = self._out
        if not out.human:
            shared = {"question": question} if self.many else {}
            records = [{**shared, **passage.as_dict()} for passage in passages]
            if out.nl:
                out.records(records)
            else:
                self._records += records
            return
        if self.many:
            out.text(f"> {question}")
        if not passages:
            out.note("Nothing found.")
        for number, passage in enumerate(passages):
            if number:
                out.text()
            self._passage(passage)
        if self.many:
            out.text()

    def finish(self) -> None:
        """Write what waits for the end."""
        if self._out.json and not self._out.nl:
            self._out.records(self._records)

    def _passage(self, passage: Passage) -> None:
        span = (passage.match_start, passage.match_end)
        title = passage.title if passage.title and passage.title not in passage.heading else ""
        self._out.text("  ".join(filter(None, (where(passage), f"{passage.score:.2f}", title))))
        write_notes(self._out, passage)
        self._out.marked(passage.text, span, self._marks)

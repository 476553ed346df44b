"""`mac chat`: one question after the other, each of which may follow up those before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from maccli.commands import options
from maccli.commands.asking.ask import Asker, questions
from maccli.output import Output

if TYPE_CHECKING:
    from maccli.service.ask import Answer

_HELP = "/new forgets what was asked, /quit or Ctrl-D ends."


@click.command()
@options.apply(options.k_option, options.retriever_option, options.fast_option)
@options.only_options
@options.asking_options
@options.local_option
@options.apply(options.json_option, options.nl_option)
@click.option("-q", "--quiet", is_flag=True, help="Write the answers only, without sources.")
@click.option(
    "-v", "--verbose", is_flag=True, help="Show every source, and how long each step took."
)
@click.pass_context
def chat(
    ctx: click.Context,
    /,
    stores: tuple[Path, ...],
    model: str | None,
    device: str | None,
    local: bool,
    as_json: bool,
    as_nl: bool,
    quiet: bool,
    verbose: bool,
    **how: Any,
) -> None:
    """Ask one question after the other, a line each.

    A question may follow up the two before it: after "Who repaired the roof?" it is clear what "And
    how much was it?" means. One that names what it is about is answered as by mac ask. /new forgets
    what was asked, /quit or Ctrl-D ends.

    \b
    Examples:
      mac chat
      mac chat --tag house --since 2026-01-01
      printf 'Who repaired the roof?\\nAnd how much was it?\\n' | mac chat -q
    """
    out = Output(json=as_json, nl=as_nl, quiet=quiet)
    with options.open_served_mac(out, stores, model, device, local=local, verbose=verbose) as mac:
        conversation = _Conversation(out, partial(mac.ask, **how))
        asker = Asker(out, conversation.ask, strict=False, verbose=verbose)
        code = asker.ask_many(conversation.questions())
    ctx.exit(code)


class _Conversation:
    """Remembers what was asked and answered."""

    def __init__(self, out: Output, ask: Callable[..., Answer]) -> None:
        self._out = out
        self._ask = ask
        self._history: list[tuple[str, str]] = []

    def questions(self) -> Iterator[str]:
        """Yield the questions from standard input, and obey what begins with a slash."""
        for line in questions():
            if line == "/quit":
                return
            if line == "/new":
                self._history.clear()
            elif line.startswith("/") and " " not in line:
                self._out.note(_HELP)
            else:
                yield line

    def ask(self, question: str, on_text: Callable[[str], None] | None = None) -> Answer:
        """Answer a question. Errors are those of `Mac.ask`."""
        answer = self._ask(question, history=tuple(self._history), on_text=on_text)
        self._history.append((question, answer.answer))
        return answer

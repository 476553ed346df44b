"""The one place that writes: results to stdout, as text or JSON, and the rest to stderr.

What comes from documents, file names and questions is shown by the terminal and never obeyed by it:
everything that people read goes through `clean`, in pipes as well, and JSON has it escaped.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any, Protocol

import click

from models.memory.protocol import Progress

_LINE_ENDS = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
# What a terminal obeys, but for the ends of lines and tabs, and what cannot be written at all.
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff]")
# What changes the direction of text or cannot be seen. Persian, Hindi and emoji need the joiners.
_INVISIBLE = re.compile(
    r"[\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\U000e0000-\U000e007f]"
)
_UNSAFE = re.compile("|".join(p.pattern for p in (_CONTROL, _INVISIBLE, _LINE_ENDS)) + r"|[\t\n]")
# JSON has the characters below a space escaped already.
_UNSAFE_IN_JSON = re.compile(rf"[\x7f-\x9f\u2028\u2029\ud800-\udfff]|{_INVISIBLE.pattern}")


def clean(text: str) -> str:
    """Return text as a terminal may get it: lines and tabs stay, what it would obey does not."""
    return _INVISIBLE.sub("", _CONTROL.sub("\ufffd", _LINE_ENDS.sub("\n", text)))


def one_line(text: str) -> str:
    """Return text as `clean` does, on one line."""
    return clean(text).replace("\n", " ").replace("\t", " ")


def escaped(name: str) -> str:
    r"""Return a name on one line, with what `clean` takes out or changes as \\xNN or \\uNNNN."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), name)


_BOLD = ("\x1b[1;4m", "\x1b[0m")
"""Bold and underlined, and back."""


def marks(color: bool | None = None) -> tuple[str, str]:
    """Return the marks before and after the part of a text that matters.

    They are bold and underlined where colors show, brackets on a terminal without colors, and
    nothing in a pipe.

    Args:
        color: whether colors show; None finds it out.
    """
    if color or (color is None and uses_color(sys.stdout)):
        return _BOLD
    return ("[", "]") if color is None and sys.stdout.isatty() else ("", "")


class Bar(Progress, Protocol):
    """A progress that is shown: its total may come late, and words may stand beside it."""

    def expect(self, total: int) -> None:
        """Set the total, where it becomes known only when the work has begun."""

    def tell(self, words: str) -> None:
        """Show `words` beside the bar."""


class NoProgress:
    """A progress that is not shown."""

    def advance(self, amount: int) -> None:
        """Ignore it."""

    def expect(self, total: int) -> None:
        """Ignore it."""

    def tell(self, words: str) -> None:
        """Ignore it."""


@dataclass(slots=True)
class Output:
    """The form of the output: text for people, one JSON document, or one JSON object a line."""

    json: bool = False
    nl: bool = False
    quiet: bool = False
    _bar: Any = field(default=None, init=False, repr=False)

    @property
    def human(self) -> bool:
        """Whether a person reads it."""
        return not (self.json or self.nl)

    def text(self, line: str = "", *, end: str = "\n", color: bool | None = None) -> None:
        """Write a result meant for people.

        Args:
            line: the text.
            end: what stands after it.
            color: it holds escape codes, which stay in it, also in a pipe; the rest is clean.
        """
        click.echo((line if color else clean(line)) + end, nl=False, color=color)

    def marked(self, text: str, span: tuple[int, int], marks: tuple[str, str]) -> None:
        """Write a text for people with marks around a part of it, see `marks`."""
        start, end = span
        parts = (text[:start], marks[0], text[start:end], marks[1], text[end:])
        whole = "".join(part if i % 2 else clean(part) for i, part in enumerate(parts))
        self.text(whole, color=True if marks == _BOLD else None)

    def record(self, record: Mapping[str, Any]) -> None:
        """Write one object: indented with --json, on one line with --nl."""
        click.echo(_dumps(record, indent=None if self.nl else 2))

    def records(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Write a list of objects; an empty one is `[]` with --json, nothing with --nl."""
        if self.nl:
            for record in records:
                click.echo(_dumps(record))
            return
        lines = [_dumps(record) for record in records]
        click.echo("[" + ",\n ".join(lines) + "]")

    def table(self, rows: Sequence[Sequence[str]], header: Sequence[str]) -> None:
        """Write rows under a header, columns aligned; the last column is not padded."""
        table = [header, *([one_line(cell) for cell in row] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for row in table:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            self.text("  ".join(cells).rstrip())

    def note(self, line: str) -> None:
        """Write a line that is no result to stderr; -q silences it."""
        if not self.quiet:
            self._stderr(one_line(line))

    def tell(self, words: str) -> None:
        """Say on a terminal what takes a while, such as "loading the model"."""
        if self._shows_bars():
            self._stderr(one_line(f"{words[:1].upper()}{words[1:]} ..."))

    def warn(self, line: str) -> None:
        """Write a warning to stderr."""
        self._stderr(f"{_label('Warning:', fg='yellow')} {one_line(line)}")

    def problem(self, line: str) -> None:
        """Write to stderr that a part of the work failed while the rest goes on."""
        self._stderr(f"{_label('Error:', fg='red', bold=True)} {one_line(line)}")

    @contextmanager
    def progress(self, total: int | None, unit: str, title: str) -> Iterator[Bar]:
        """Show a progress bar on stderr if it is a terminal and -q was not given."""
        if not self._shows_bars():
            yield NoProgress()
            return
        self._bar = _new_bar(total, unit, title)
        try:
            yield _Bar(self._bar)
        finally:
            self._bar.close()
            self._bar = None

    @contextmanager
    def transfers(self) -> Iterator[Callable[[str, int, int | None], None]]:
        """Provide a function that shows downloads: (label, bytes so far, total bytes if known).

        Each label gets its own bar, or one line where there is no terminal.
        """
        bars: dict[str, Any] = {}

        def show(label: str, done: int, total: int | None) -> None:
            if label not in bars:
                shows = self._shows_bars()
                bars[label] = _new_bar(total, "B", label) if shows else None
                if not shows:
                    self.note(label)
            if (bar := bars[label]) is not None:
                bar.total = total
                bar.update(done - bar.n)

        try:
            yield show
        finally:
            for bar in bars.values():
                if bar is not None:
                    bar.close()

    def _shows_bars(self) -> bool:
        return not self.quiet and sys.stderr.isatty()

    def _stderr(self, line: str) -> None:
        if self._bar is None:
            click.echo(line, err=True)
        else:  # above the bar, not into it
            self._bar.write(line, file=sys.stderr)


def _new_bar(total: int | None, unit: str, title: str) -> Any:
    from tqdm import tqdm

    return tqdm(
        total=total,
        unit=unit,
        desc=one_line(title),
        unit_scale=True,
        leave=False,
        dynamic_ncols=True,
        file=sys.stderr,
    )


class _Bar:
    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def advance(self, amount: int) -> None:
        self._bar.update(amount)

    def expect(self, total: int) -> None:
        self._bar.total = total
        self._bar.refresh()

    def tell(self, words: str) -> None:
        self._bar.set_postfix_str(one_line(words))


def error(message: str, hint: str | None = None) -> None:
    """Write an error and its hint: two lines on stderr."""
    click.echo(f"{_label('Error:', fg='red', bold=True)} {one_line(message)}", err=True)
    if hint:
        click.echo(f"{_label('Hint:', fg='cyan')} {one_line(hint)}", err=True)


def uses_color(stream: IO[str]) -> bool:
    """Return whether a stream is a terminal that shows colors, and they are not switched off.

    NO_COLOR (not empty), CLICOLOR=0 and TERM=dumb switch them off.
    """
    environment = os.environ
    off = environment.get("NO_COLOR") or environment.get("CLICOLOR") == "0"
    return stream.isatty() and not off and environment.get("TERM") != "dumb"


def _label(word: str, **style: Any) -> str:
    """Return a word for stderr, styled if that shows colors."""
    return click.style(word, **style) if uses_color(sys.stderr) else word


def size(octets: int) -> str:
    """Return a number of bytes as people read it: 812 B, 1.4 MB."""
    amount = float(octets)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def count(number: int, singular: str, plural: str | None = None) -> str:
    """Return `number` with its noun: 1 document, 2,000 documents."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def _dumps(value: object, indent: int | None = None) -> str:
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return _UNSAFE_IN_JSON.sub(lambda match: json.dumps(match[0])[1:-1], text)

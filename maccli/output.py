"""The one place that writes: results to stdout in the form asked for, the rest to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import click


class Progress(Protocol):
    """What a long piece of work is told to call: how far it is, and a few words beside the bar."""

    def advance(self, amount: int) -> None:
        """Move on by `amount` units."""

    def tell(self, words: str) -> None:
        """Show `words` beside the bar."""


class NoProgress:
    """A progress nobody looks at."""

    def advance(self, amount: int) -> None:
        """Ignore it."""

    def tell(self, words: str) -> None:
        """Ignore it."""


@dataclass(slots=True)
class Output:
    """The form of the output: for people, as one JSON document, or as one JSON object a line."""

    json: bool = False
    nl: bool = False
    quiet: bool = False
    _bar: Any = field(default=None, init=False, repr=False)

    @property
    def human(self) -> bool:
        """Whether a person reads it."""
        return not (self.json or self.nl)

    def text(self, line: str = "", *, end: str = "\n") -> None:
        """Write a result meant for people."""
        click.echo(line + end, nl=False)

    def record(self, record: Mapping[str, Any]) -> None:
        """Write one object: indented with --json, on one line with --nl."""
        self.text(_dumps(record, indent=None if self.nl else 2))

    def records(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Write a list of objects; an empty one is `[]` with --json, nothing with --nl."""
        if self.nl:
            for record in records:
                self.text(_dumps(record))
            return
        lines = [_dumps(record) for record in records]
        self.text("[" + ",\n ".join(lines) + "]")

    def table(self, rows: Sequence[Sequence[str]], header: Sequence[str]) -> None:
        """Write rows under a header, columns aligned; the last column is not padded."""
        table = [header, *rows]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for row in table:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            self.text("  ".join(cells).rstrip())

    def note(self, line: str) -> None:
        """Tell the user something that is no result; -q silences it."""
        if not self.quiet:
            self._stderr(line)

    def warn(self, line: str) -> None:
        """Tell the user that something is not as it should be."""
        self._stderr(f"{click.style('Warning:', fg='yellow')} {line}")

    def problem(self, line: str) -> None:
        """Tell the user that a part of the work failed while the rest goes on."""
        self._stderr(f"{click.style('Error:', fg='red', bold=True)} {line}")

    @contextmanager
    def progress(self, total: int | None, unit: str, title: str) -> Iterator[Progress]:
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
        """Give a function that shows downloads: (label, bytes so far, bytes in all if known).

        Each label gets a bar of its own, or one line where there is no terminal.
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
        desc=title,
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

    def tell(self, words: str) -> None:
        self._bar.set_postfix_str(words)


def error(message: str, hint: str | None = None) -> None:
    """Write an error and its hint: two lines on stderr."""
    click.echo(f"{click.style('Error:', fg='red', bold=True)} {message}", err=True)
    if hint:
        click.echo(f"{click.style('Hint:', fg='cyan')} {hint}", err=True)


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
    return json.dumps(value, ensure_ascii=False, indent=indent)

from __future__ import annotations

import io
import json
import sys

import pytest

from maccli.output import Output, count, size


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lists_in_every_form(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"a": "ü"}, {"a": 'q"'}]
    Output(json=True).records(rows)
    assert json.loads(capsys.readouterr().out) == rows
    Output(nl=True).records(rows)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == rows
    Output(json=True).records([])
    assert capsys.readouterr().out == "[]\n"
    Output(nl=True).records([])
    assert capsys.readouterr().out == ""


def test_bars_are_for_terminals_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(out: Output) -> None:
        with out.progress(10, "B", "work") as progress:
            progress.advance(5)
            progress.tell("halfway")
            out.warn("careful")
        with out.transfers() as transfer:
            transfer("fetch", 1, None)
            transfer("fetch", 2, 2)

    work(Output())
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "Warning: careful\nfetch\n")
    work(Output(quiet=True))
    assert capsys.readouterr().err == "Warning: careful\n"
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    work(Output())
    shown = terminal.getvalue()
    assert "work:" in shown and "careful\n" in shown and "fetch:" in shown


def test_what_takes_a_while_is_told_on_terminals_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Output().tell("loading the model")
    assert capsys.readouterr().err == ""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    Output(quiet=True).tell("loading the model")
    assert terminal.getvalue() == ""
    Output().tell("loading the model")
    assert terminal.getvalue() == "Loading the model ...\n"


def test_numbers_as_people_read_them() -> None:
    assert [size(n) for n in (0, 999, 1000, 1_400_000, 2 * 10**9, 10**13)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.4 MB",
        "2.0 GB",
        "10.0 TB",
    ]
    assert [count(n, "document") for n in (0, 1, 2000)] == [
        "0 documents",
        "1 document",
        "2,000 documents",
    ]

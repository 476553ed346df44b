from __future__ import annotations

import io
import json
import sys

import pytest

from maccli import output
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


HOSTILE = "\x1b]0;owned\x07 \x9b31mred\x00\u202e\U000e0041\u200bx\x7f"


def obeyed(text: str) -> set[str]:
    return {c for c in text if not c.isprintable() and c not in "\n\t\u200d"}


def test_text_is_shown_without_what_a_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output()
    out.text(f"one\ttwo\r\nthree\rfour\n{HOSTILE}")
    out.table([[HOSTILE, "a\nb\tc"]], ["name", "title"])
    shown = capsys.readouterr().out
    assert obeyed(shown) == set()
    assert shown.startswith(
        "one\ttwo\nthree\nfour\n\ufffd]0;owned\ufffd \ufffd31mred\ufffdx\ufffd\n"
    )
    assert shown.splitlines()[-1].endswith("a b c")
    for write in (out.note, out.warn, out.problem, output.error):
        write(f"{HOSTILE}\nError: forged")
        assert len(capsys.readouterr().err.splitlines()) == 1
    output.error("x", HOSTILE)
    assert obeyed(capsys.readouterr().err) == set()


def test_what_people_write_is_shown_as_it_is() -> None:
    text = "Straße, \u0645\u06cc\u200c\u062e, 👩\u200d🔬 ✈\ufe0f, 日本語, naïve e\u0301\n\tx"
    assert output.clean(text) == text
    assert output.escaped("Straße 👩\u200d🔬\\x1b") == "Straße 👩\u200d🔬\\x1b"


def test_a_name_shows_what_is_odd_in_it() -> None:
    assert output.escaped("a\x1b\n\x9b\u202e\U000e0041") == r"a\x1b\n\x9b\u202e\U000e0041"


def test_own_styles_stay_where_they_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    Output().text(f"\x1b[1m{output.clean(HOSTILE)}\x1b[0m", color=True)
    shown = capsys.readouterr().out
    assert shown.count("\x1b") == 2 and obeyed(shown) == {"\x1b"}


def test_json_has_everything_and_nothing_that_is_obeyed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    value = f"{HOSTILE}\u2028\ud83d\n"
    Output(nl=True).record({"a": value})
    shown = capsys.readouterr().out
    assert obeyed(shown) == set()
    assert json.loads(shown) == {"a": value}


def test_progress_shows_no_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Output().progress(10, "B", f"t\x07{HOSTILE}") as progress:
        progress.tell(HOSTILE)
        progress.advance(5)
    assert "\x07" not in terminal.getvalue() and "\x1b]" not in terminal.getvalue()


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

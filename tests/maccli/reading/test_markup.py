from __future__ import annotations

import base64
import random

import pytest

from maccli.reading.formats.markup import plain, read
from store.marks import mark_at

BLOB = base64.b64encode(random.Random(1).randbytes(3000)).decode()
WRAPPED = "\n".join(BLOB[i : i + 76] for i in range(0, len(BLOB), 76))


def outline(text: str, name: str) -> list[tuple[str, str]]:
    return [(mark.heading, mark.place) for mark in read(text, name).marks]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.md", "Words.\n", [("", "line 1")]),
        (
            "a.md",
            "# One\n\nx\n\n## Two ##\n\n# Three",
            [("One", 1), ("One > Two", 5), ("Three", 7)],
        ),
        ("a.md", "x\n\nOne\n===\n\nTwo\n---\ny", [("", 1), ("One", 3), ("One > Two", 6)]),
        ("a.md", "One\nand more\n========\n", [("One and more", 1)]),
        ("a.md", "### Deep\n# High\n### Low", [("Deep", 1), ("High", 2), ("High > Low", 3)]),
        ("a.md", "```sh\n# no\n~~~\n# no\n```\n# Yes", [("", 1), ("Yes", 6)]),
        ("a.md", "~~~~\n~~~\n# no\n~~~~\n# Yes", [("", 1), ("Yes", 5)]),
        ("a.md", "    # no\n\n#no\n\n#\n\n####### no", [("", 1)]),
        ("a.md", "---\n# a comment\ntitle: x\n---\n# Yes", [("", 1), ("Yes", 5)]),
        ("a.md", "+++\ntitle = 'x'\n# no\n+++\n# Yes", [("", 1), ("Yes", 5)]),
        ("a.md", "---\n\n# Yes\n\n---\n", [("", 1), ("Yes", 3)]),
        ("a.md", "- item\n---\n\nx\n\n- a\nb\n---\n", [("", 1)]),
        ("a.md", "Words:\n- item\n---\nx", [("", 1)]),
        ("a.md", "one\ntwo\nthree\n---\n", [("", 1)]),
        ("a.md", "<!--\n# no\n-->\n# Yes", [("", 1), ("Yes", 4)]),
        ("a.md", '<h1 align="center">The <b>Kite</b></h1>\n', [("The Kite", 1)]),
        ("a.md", "<h1>\n <img alt=x>\n The Kite\n</h1>\nx\n# B", [("The Kite", 1), ("B", 6)]),
        ("a.md", "- ```\n  # no\n  ```\n1. ~~~\n   # no\n   ~~~\n# B", [("", 1), ("B", 7)]),
        ("a.md", "<pre class=x>\n\n# no\n</PRE>\n# Yes", [("", 1), ("Yes", 5)]),
        ("a.md", "<!-- x --> and <pre>y</pre>\n# Yes", [("", 1), ("Yes", 2)]),
        ("a.md", "# One\r\n\r\n## Two\r\n", [("One", 1), ("One > Two", 3)]),
        ("a.rst", "====\nOver\n====\n\nSub\n---\n\nx", [("Over", 1), ("Over > Sub", 5)]),
        (
            "a.rst",
            "One\n===\n\nTwo\n~~~\n\nThree\n=====\n",
            [("One", 1), ("One > Two", 4), ("Three", 7)],
        ),
        ("a.rst", "x\ny\n---\n\n::\n\n  # no\n  ----\n\n-----\n\nz", [("", 1)]),
        (
            "a.rst",
            "# no\n\n:ref:`The kite <kite>`\n===========================",
            [("", 1), ("The kite", 3)],
        ),
        ("a.txt", "# no\n\nTitle\n=====", [("", 1)]),
        ("a.py", "# no\nx = 1", [("", 1)]),
        ("a.yaml", "# no\nx: 1", [("", 1)]),
        ("run.sh", "#!/bin/sh\n# no", [("", 1)]),
    ],
)
def test_headings_and_their_lines(
    name: str, text: str, expected: list[tuple[str, str | int]]
) -> None:
    lines = [(head, line if isinstance(line, str) else f"line {line}") for head, line in expected]
    assert outline(text, name) == lines


@pytest.mark.parametrize(
    ("name", "text", "title"),
    [
        (
            "a.md",
            "---\ntitle: Harbour rules # short\ndate: 2031-03-03\n---\n# Other",
            "Harbour rules",
        ),
        ("a.md", "---\ndate: 1\ntitle: 'It''s: \"so\"'\n---\n", 'It\'s: "so"'),
        ("a.md", '---\ntitle: "The \\"Kite\\""\n---\n', 'The "Kite"'),
        ("a.md", "---\ntitle: >-\n  Long\n  words\ntags: x\n---\n", "Long words"),
        ("a.md", '+++\ntitle = "In TOML"\n+++\n', "In TOML"),
        ("a.md", '+++\ntitle = """In TOML"""\n+++\n', "In TOML"),
        ("a.md", "---\ntitle: Long\n  words\ndate: 1\n---\n", "Long words"),
        ("a.md", '---\n\n"title": "Caf\\u00e9 of\n  Skarn"\n---\n', "Café of Skarn"),
        ("a.md", "\n---\ntitle: Below\n---\n", "Below"),
        ("a.md", "---\ntitle: ~\n---\n# Heading", "Heading"),
        ("a.md", "Title: Bare\nDate: 2031\n\n# Other", "Bare"),
        ("a.md", "Title: of a sentence,\nwhich goes on.\n\n# Heading", "Heading"),
        ("a.md", "% Bare\n% Ines\n\n# Other", "Bare"),
        ("a.md", "---\ndate: 1\n---\n\nx\n\n# Heading", "Heading"),
        ("a.md", "```sh\n# install it\n```\n\n## Sub\n\n# The Tarn tool", "The Tarn tool"),
        ("a.md", "intro\n\n## The *only* one ##\n", "The only one"),
        ("a.md", "no heading", None),
        ("a.rst", "Over\n====\n\nx", "Over"),
        ("a.txt", "# no heading here", None),
        ("a.toml", "title = 'no'\n# no", None),
    ],
)
def test_titles(name: str, text: str, title: str | None) -> None:
    assert read(text, name).title == title


@pytest.mark.parametrize(
    ("heading", "words"),
    [
        ("**Bold** and *thin* and __both__", "Bold and thin and both"),
        ("[Docs](https://x.org/a_(b)) ![logo](l.png)", "Docs logo"),
        ("[`pkg`](x) for `List<T>` and `a*b*`", "pkg for List<T> and a*b*"),
        ("Set up {#setup .big}", "Set up"),
        ("snake_case_name and 2 * 3 * 4", "snake_case_name and 2 * 3 * 4"),
        (r"C\# \& co <br/> <https://x.org>", "C# & co <https://x.org>"),
        ("[ref][1]", "ref"),
    ],
)
def test_marks_for_emphasis_and_links_are_no_words(heading: str, words: str) -> None:
    assert plain(heading) == words


def test_the_text_stays_line_for_line() -> None:
    text = (
        "---\ntitle: x\n---\r\n\r\n# One\n\n<!-- note -->\n  Two.  \t\n[a](b)\n\f\n```\n# c\n```\n"
    )
    for name in ("a.md", "a.rst", "a.txt", "a.py", "a"):
        assert read(text, name).text == text


def test_an_old_macintosh_has_lines_too() -> None:
    assert outline("# One\r\rWords.\r\r# Two\r", "a.md") == [("One", "line 1"), ("Two", "line 5")]


def test_a_table_names_its_columns_row_by_row() -> None:
    text = (
        "# Cups\n\n| **Team** | City \\| Town | Cups |\n|:---|---|--:|\n| Leafs | Toronto | 13 |\n"
        "| Wings | | 11 |\n\nEnd.\n"
    )
    draft = read(text, "a.md")
    assert draft.text == (
        "# Cups\n\n\n\nTeam: Leafs; City | Town: Toronto; Cups: 13\nTeam: Wings; Cups: 11\n\nEnd.\n"
    )
    row = mark_at(draft.marks, draft.text, draft.text.index("Team: Wings"))
    assert (row.heading, row.place) == ("Cups", "line 6")


@pytest.mark.parametrize(
    "text",
    [
        "```\n| a | b |\n|---|---|\n| 1 | 2 |\n```",
        "a | b\n\n1 | 2",
        "| a | b |\n|---|\n| 1 | 2 |",
        "| a | b |\n|---|---|\n",
    ],
)
def test_what_is_no_table_stays(text: str) -> None:
    assert read(text, "a.md").text == text


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("a.md", f"![map](data:image/png;base64,{BLOB})\nx", "![map]([data])\nx"),
        ("a.md", f'<img src="data:image/png;base64,{BLOB}">', '<img src="[data]">'),
        ("a.md", f"![map](DATA:image/png;base64, {BLOB}) x", "![map]([data]) x"),
        (
            "a.md",
            f'<img src="data:image/png;base64,\n  {BLOB[:76]}\n  {BLOB[76:152]}\n  QUJD"> x\ny',
            '<img src="[data]\n\n\n"> x\ny',
        ),
        ("a.md", f"data:a/b;base64,QUJD\n\n{'-' * 60}\nx", f"[data]\n\n{'-' * 60}\nx"),
        ("a.md", f"[1]: data:image/svg+xml,{'%3Csvg%20a' * 30}\nx", "[1]: [data]\nx"),
        ("a.json", f'{{"key": "{BLOB}"}}', '{"key": "[data]"}'),
        ("a.json", '{"k": "' + BLOB.replace("/", "\\/") + '"}', '{"k": "[data]"}'),
        ("a.pem", f"BEGIN\n{WRAPPED}\nEND", "BEGIN\n[data]" + "\n" * 53 + "END"),
    ],
)
def test_pictures_in_base64_are_left_out(name: str, before: str, after: str) -> None:
    draft = read(before, name)
    assert draft.text == after
    assert draft.remarks == ["has 1 picture or other data in it, left out"]


def test_wrapped_base64_leaves_its_lines() -> None:
    for prefix, suffix in (("  ", ""), ("# ", ""), ('    "', '"'), ("// ", ""), ("", "\r")):
        body = "\n".join(f"{prefix}{line}{suffix}" for line in WRAPPED.split("\n"))
        text = read(f"key: |\n{body}\nend: here\n", "a.yaml").text
        assert text.count("\n") == body.count("\n") + 3
        assert text.split() == [*f"key: | {prefix}[data]{suffix}".split(), "end:", "here"]


@pytest.mark.parametrize(
    "text",
    [
        "ACGT" * 100,
        "-" * 500,
        "0123456789abcdef" * 20,
        "a/long/path/of/Many/Folders2/" * 3,
        "see data:text/plain,hello and metadata:a/b;c",
        "def0A" * 39,
        "\n".join(["One line of words that is rather long, then 12 more words in it"] * 9),
    ],
)
def test_other_long_words_stay(text: str) -> None:
    assert read(text, "a.txt").text == text

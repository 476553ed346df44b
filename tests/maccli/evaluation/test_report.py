"""The page and the pictures of a file of results that was made up, with everything in it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from maccli.evaluation.report import plots
from maccli.evaluation.report.page import page
from maccli.evaluation.report.tables import tables
from maccli.evaluation.results import Results, Row

VOID = {"meta", "br", "path", "use", "img"}
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")


def row(method: str, k: int | None, f1: float, seconds: float, at: int | None = None) -> Row:
    return Row(
        method,
        k,
        at=at,
        questions=2,
        figures={name: [f1, f1 - 4, f1 + 5] for name in ("em", "prefix_em", "f1")},
        costs={
            "found": None if k is None else 81.5,
            "seconds_a_question": seconds,
            "prompt_tokens": 120.0,
            "prefix_tokens": 40.5,
            "adaptation_seconds": 12.25,
            "adaptation_memory": 1_200_000_000,
            "bytes_a_document": 6400.0,
            "memory": 900_000_000,
            "chunks": at and 1.2 * at,
        },
        answers=[{"prediction": f"<{method}>", "em": 1.0}, {"prediction": "", "em": 0.0}],
    )


@pytest.fixture
def results() -> Results:
    rows = [
        row("closed-book", None, 5, 0.05),
        *(row("rag-hybrid", k, 40.0 + k, 0.8 + k) for k in (1, 3)),
        *(row("mac", k, 50.0 + k, 0.3 + k / 10) for k in (1, 3)),
        row("uniform@1e-05", None, 8, 0.05),
    ]
    data = {
        "format": "mac-eval",
        "command": "mac eval --data 'a & b.jsonl'",
        "begun": "2026-01-02T03:04:05+00:00",
        "versions": {"python": "3.11"},
        "hardware": {"cores": 2, "cuda": None},
        "settings": {
            "kind": "methods",
            "data": [{"file": "a & b.jsonl", "sha256": "0"}],
            "distractors": [{"file": f"{n}.jsonl", "sha256": "0"} for n in range(40)],
            "seed": 0,
        },
        "questions": [
            {"question": "Who is <b>x</b>?", "answers": ["A", "B & C"]},
            {"question": "Why?", "answers": ["because"]},
        ],
        "machine_made": {"a & b.jsonl": 2},
    }
    return Results(data, rows, None)


def study(results: Results, kind: str) -> Results:
    """The results as those of a study."""
    retained = {"mac": (52, 51, 51, 50), "uniform@1e-05": (20, 12, 7, 5)}
    rows = {
        "methods": results.rows,
        "own-documents": results.rows,
        "bank-sizes": [row("mac", 1, 70 - 5 * n, 0.1 * 2**n, 100 * 10**n) for n in range(3)],
        "retention": [
            row(name, 1, f1, 0.3, 200 + 400 * n)
            for name, values in retained.items()
            for n, f1 in enumerate(values)
        ],
        "prune-curve": [row(name, 3, at / 2, 0.3, at) for name, at in (("whole", 100), ("x", 50))],
        "abstention": [
            Row(
                "mac",
                1,
                questions=2,
                figures={"wrongly": [5.0, 1.0, 9.0], "rightly": [47.0, 40.0, 50.0]},
                costs={"threshold": 0.2},
            )
        ],
    }
    return Results({**results.data, "settings": {"kind": kind}}, rows[kind], None)


class Reader(HTMLParser):
    """Checks that tags are closed in order, ids occur once, and nothing is fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self.handle_startendtag(tag, attributes)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href", "data", "action", "poster", "srcset"):
                self.links.append(value or "")
            assert not name.startswith("on")

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


def test_the_page_is_well_formed_and_fetches_nothing(results: Results) -> None:
    pytest.importorskip("matplotlib")
    text = page(results, plots.svgs(results))
    reader = read(text)
    assert len(set(reader.ids)) == len(reader.ids) > 10
    assert reader.links and all(link.startswith("#") for link in reader.links)
    assert {link[1:] for link in reader.links} <= set(reader.ids)
    used = re.findall(r"url\(([^)]*)\)", text)
    assert used and all(link[1:] in reader.ids for link in used)
    assert not {"script", "link", "iframe", "object", "img"} & set(reader.seen)
    # The only addresses are the names of the SVG namespaces.
    assert set(re.findall(r"https?://[^\"'<> ]+", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert "@import" not in text and "Who is &lt;b&gt;x&lt;/b&gt;?" in text
    assert "and 11 more" in text and text.count("machine-made") == 1
    assert text.count("<svg") == 1 == len(plots.panels(results))


def test_pictures_are_the_same_every_time_and_follow_the_page_s_colours(
    results: Results,
) -> None:
    pytest.importorskip("matplotlib")
    first, again = (plots.svgs(results) for _ in range(2))
    assert first == again
    assert "stroke: currentColor" in first[0] and "#000000" not in first[0]
    assert "<metadata" not in first[0]


@pytest.mark.parametrize("kind", plots.drawn_kinds())
def test_every_kind_that_can_be_drawn_writes_a_file(
    results: Results, work: Path, kind: str
) -> None:
    pytest.importorskip("matplotlib")
    drawn = study(results, kind)
    plots.picture(drawn, work / "one.png")
    assert (work / "one.png").stat().st_size > 1000


@pytest.mark.parametrize("suffix", plots.FORMATS)
def test_one_picture_of_all_panels(results: Results, work: Path, suffix: str) -> None:
    pytest.importorskip("matplotlib")
    plots.picture(results, work / f"all{suffix}")
    begin = (work / f"all{suffix}").read_bytes()[:200]
    assert {".png": b"PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix] in begin


def test_nothing_measured_gives_a_page_without_pictures(results: Results, work: Path) -> None:
    pytest.importorskip("matplotlib")
    results.rows = []
    assert plots.svgs(results) == []
    plots.picture(results, work / "none.png")
    assert not (work / "none.png").exists()
    assert "<svg" not in page(results, [])


@pytest.mark.parametrize(
    ("kind", "pictures", "cells"),
    [
        ("bank-sizes", 3, ("12000", "60.0", "0.40")),
        ("retention", 1, ("0.96", "0.25", "1400")),
        ("prune-curve", 1, ("whole", "50%")),
        ("abstention", 0, ("0.2", "47.0", "40.0-50.0")),
    ],
)
def test_studies_have_tables_and_pictures(
    results: Results, kind: str, pictures: int, cells: tuple[str, ...]
) -> None:
    pytest.importorskip("matplotlib")
    results = study(results, kind)
    text = page(results, plots.svgs(results))
    assert text.count("<svg") == pictures
    shown = {cell for table in tables(results) for line in table.rows for cell in line}
    assert set(cells) <= shown
    read(text)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_a_browser_shows_it(results: Results, work: Path) -> None:
    pytest.importorskip("matplotlib")
    (work / "page.html").write_text(page(results, plots.svgs(results)), "utf-8")
    ran = subprocess.run(
        [
            *(str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *(f"--user-data-dir={work / 'profile'}", (work / "page.html").as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if ran.returncode:
        pytest.skip(f"Chromium does not run here: {ran.stderr[-200:]}")
    assert ran.stdout.count("<svg") == 1
    assert json.dumps(ran.stdout).count("Answers to each question") == 1

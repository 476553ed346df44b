"""The page and the pictures of a file of results that was made up, with everything in it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from maccli.evaluation.report import plots
from maccli.evaluation.report.page import page
from maccli.evaluation.report.panels import panels

VOID = {"meta", "br", "path", "use", "img"}
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")


def row(method: str, k: int | None, f1: float, seconds: float, rate: float | None = None) -> Any:
    return {
        "method": method,
        "k": k,
        "learning_rate": rate,
        "questions": 2,
        **{name: value for m in ("em", "prefix_em", "f1") for name, value in _figure(m, f1)},
        "found": None if k is None else 81.5,
        "seconds_a_question": seconds,
        "prompt_tokens": 120.0,
        "prefix_tokens": 40.5,
        "adaptation_seconds": 12.25,
        "adaptation_memory": 1_200_000_000,
        "bytes_a_document": 6400.0,
        "memory": 900_000_000,
        "predictions": [{"prediction": f"<{method}>", "em": 1.0}, {"prediction": "", "em": 0.0}],
    }


def _figure(name: str, value: float) -> list[tuple[str, Any]]:
    return [(name, value), (f"{name}_interval", [value - 4, value + 5])]


def curve(*values: float) -> list[dict[str, Any]]:
    ends = (200, 600, 1000, 1400)
    return [
        {"documents": end, "f1": f1, "f1_interval": [f1 - 5, f1 + 5]}
        for end, f1 in zip(ends, values, strict=True)
    ]


@pytest.fixture
def results() -> dict[str, Any]:
    rows = [
        row("closed-book", None, 5, 0.05),
        *(row("rag-hybrid", k, 40.0 + k, 0.8 + k) for k in (1, 3)),
        *(row("mac", k, 50.0 + k, 0.3 + k / 10) for k in (1, 3)),
        row("uniform", None, 8, 0.05, 1e-5),
    ]
    retained = [
        {**row("mac", 1, 50, 0.3), "retention": 0.95, "curve": curve(52, 51, 51, 50)},
        {**rows[-1], "retention": 0.2, "curve": curve(20, 12, 7, 5)},
    ]
    for one in retained:
        figures = dict(one)
        one |= {"documents": 200, "before": figures, "after": figures}
    sizes = [
        {**row("mac", 1, 70 - 5 * n, 0.1 * 2**n), "size": 100 * 10**n, "chunks": 120 * 10**n}
        for n in range(3)
    ]
    return {
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
        "machine_made": 2,
        "rows": rows,
        "retention": retained,
        "bank_sizes": sizes,
        "abstention": {
            "k": 1,
            "threshold": 0.2,
            "questions": 2,
            **dict(_figure("wrongly_abstained", 5.0)),
            **dict(_figure("rightly_abstained", 47.0)),
        },
    }


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


def test_the_page_is_well_formed_and_fetches_nothing(results: dict[str, Any]) -> None:
    pytest.importorskip("matplotlib")
    text = page(results, plots.evaluation_svgs(results))
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
    assert "and 11 more" in text and text.count("machine-made") == 6
    assert text.count("<svg") == 5 == len(panels(results))


def test_pictures_are_the_same_every_time_and_follow_the_page_s_colours(
    results: dict[str, Any],
) -> None:
    pytest.importorskip("matplotlib")
    first, again = (plots.evaluation_svgs(results) for _ in range(2))
    assert first == again
    assert "stroke: currentColor" in first[0] and "#000000" not in first[0]
    assert "<metadata" not in first[0]


@pytest.mark.parametrize("suffix", plots.FORMATS)
def test_one_picture_of_all_panels(results: dict[str, Any], work: Path, suffix: str) -> None:
    pytest.importorskip("matplotlib")
    plots.evaluation(results, work / f"all{suffix}")
    begin = (work / f"all{suffix}").read_bytes()[:200]
    assert {".png": b"PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix] in begin


def test_nothing_measured_gives_a_page_without_pictures(
    results: dict[str, Any], work: Path
) -> None:
    pytest.importorskip("matplotlib")
    for key in ("retention", "bank_sizes", "abstention", "questions"):
        del results[key]
    results["rows"] = []
    assert plots.evaluation_svgs(results) == []
    plots.evaluation(results, work / "none.png")
    assert not (work / "none.png").exists()
    assert "<svg" not in page(results, [])


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_a_browser_shows_it(results: dict[str, Any], work: Path) -> None:
    pytest.importorskip("matplotlib")
    (work / "page.html").write_text(page(results, plots.evaluation_svgs(results)), "utf-8")
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
    assert ran.stdout.count("<svg") == 5
    assert json.dumps(ran.stdout).count("Answers to each question") == 1

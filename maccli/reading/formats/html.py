"""HTML pages to text."""

from __future__ import annotations

SUFFIXES = frozenset({".html", ".htm", ".xhtml"})
# What stands around the text on every page of a site.
_SKIPPED = [
    "nav",
    "[role=navigation]",
    "[role=banner]",
    "[role=contentinfo]",
    "[role=search]",
    "body > footer",
]


def is_html(data: bytes, suffix: str) -> bool:
    """Return whether a file is an HTML page, by its suffix or by how it begins."""
    begin = data[:256].lstrip().lower()
    return suffix in SUFFIXES or begin.startswith((b"<!doctype html", b"<html"))


def from_html(page: str) -> tuple[str, str | None]:
    """Return the text of a page, block by block, and its title."""
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    tree = HTMLTree.parse(page)
    # Not main_content=True: its heuristics drop lists and notes, and a lost sentence is worse here
    # than a menu too many.
    text = extract_plain_text(
        tree, preserve_formatting=True, alt_texts=False, skip_elements=_SKIPPED
    )
    title = " ".join((tree.title or "").split())
    return text, title or None

"""HTML and XHTML pages to text.

The parser mends what the page gets wrong, as a browser does. The mended page is written out again
and read tag by tag, which is ten times as fast as a visit to each of its nodes.
"""

from __future__ import annotations

import re
from html import escape, unescape

from maccli.reading.draft import Draft, one_line
from maccli.reading.hypertext.page import Page
from maccli.reading.hypertext.tags import VOID

_RAW = re.compile(
    r"<!--.*?-->|<[!?][^>]*>|<(script|style|iframe|noembed|noframes)\b[^>]*>.*?</\1>"
    r"|<(xmp|plaintext)\b[^>]*>(.*?)</\2>",
    re.DOTALL,
)
_QUOTED = r"""(?:"[^"]*"|'[^']*')"""
_ATTRIBUTE = rf"""\s+[^\s"'<>=/]++(?:\s*=\s*(?:{_QUOTED}|[^\s"'<>]++))?+"""
_MANY_ATTRIBUTES = re.compile(rf"(<[a-zA-Z][^\s<>]*+(?:{_ATTRIBUTE}){{256}}+)(?:{_ATTRIBUTE})++")
_SELF_CLOSED = re.compile(rf"<([A-Za-z][\w:.-]*+)((?:\s+[\w:.-]++\s*=\s*{_QUOTED})*+)\s*/>")
_UNCLOSED = re.compile(
    rf"<(script|style|title|textarea|iframe)((?:{_ATTRIBUTE})*+)\s*/>", re.IGNORECASE
)
_FRAME = re.compile(rf"<iframe\b(?:{_ATTRIBUTE})*?\s+srcdoc\s*=\s*({_QUOTED})[^>]*>", re.IGNORECASE)
_CDATA = re.compile(r"<!\[CDATA\[(.*?)(?:\]\]>|\Z)", re.DOTALL)
_SUBSET = re.compile(r"(<!DOCTYPE[^>\[]*+)\[(.*?)\]\s*>", re.DOTALL)
_ENTITY = re.compile(rf"<!ENTITY\s+([\w.-]++)\s+({_QUOTED})\s*>")
_IS_XHTML = re.compile(r"""<\?xml\s|<(?:[\w-]+:)?html\b[^>]*?\sxmlns(?::([\w-]+))?\s*=""")
_FRONT = re.compile(r"---\r?\n(.{0,4000}?)\n---\s*\n", re.DOTALL)
_FIELD = re.compile(r"^([\w-]+):[ \t]*(.*?)[ \t\r]*$", re.MULTILINE)
_FRAMES = re.compile(r"</?(?:frameset|noframes|frame)\b[^>]*>", re.IGNORECASE)


def read(text: str, name: str) -> Draft:
    """Return the text of a page.

    Args:
        text: the page.
        name: of the file; the suffix .xhtml or .xht says that it is XML.
    """
    draft = Draft()
    draft.title = write(text, name, draft)
    return draft


def write(text: str, name: str, draft: Draft, *, quotes: bool = False) -> str | None:
    """Add the text of a page to a document.

    Args:
        text: see `read`.
        name: see `read`.
        draft: the document.
        quotes: whether what the page quotes gets a "> " before each line, as in a mail.

    Returns:
        the page's title, if it has one.
    """
    from resiliparse.parse.html import HTMLTree

    if name.lower().endswith((".xhtml", ".xht")) or _IS_XHTML.search(text[:4000]):
        text = _to_html(text)
    text = _close(text)
    if "iframe" in text and "srcdoc" in text:
        text = _FRAME.sub(_framed, text)
    if "<frameset" in text[:20_000].lower():
        text = _FRAMES.sub("", text)  # what they say to browsers without frames is all they say
    front = _FRONT.match(text)
    fields = dict[str, str](_FIELD.findall(front[1])) if front else {}
    if front:  # the source of a page, which a site's generator fills in
        text = re.sub(
            r"\{\{\s*page\.([\w-]+)\s*\}\}",
            lambda name: escape(fields.get(name[1], name[0])),
            text[front.end() :],
        )
    # The parser compares each attribute of a tag to all others.
    tree = HTMLTree.parse(_MANY_ATTRIBUTES.sub(r"\1", text))
    source = _RAW.sub(_raw, tree.document.html if tree.document else "")
    page = Page(source, quotes=quotes)
    if page.has_data:
        draft.remarks.append("has pictures or other data in its text, left out")
    draft.paragraph(front[1] if front else "")
    for block in page.blocks:
        block.write(draft)
    first = next((block.text for block in page.blocks if block.kind == "heading"), "")
    titles = (fields.get("title", "").strip("'\""), tree.title or "", page.title, first)
    return next((title for title in map(one_line, titles) if title), None)


def _to_html(text: str) -> str:
    """Return XHTML as an HTML parser understands it."""
    begin = text[:20_000]
    if subset := _SUBSET.search(begin):
        entities = {match[1]: match[2][1:-1] for match in _ENTITY.finditer(subset[2])}
        text = _SUBSET.sub(r"\1>", text, count=1)
        # Those of other entities could make a few lines into gigabytes.
        entities = {key: value for key, value in entities.items() if len(value) < 200}
        entities = {key: value for key, value in entities.items() if "&" not in value}
        if entities:
            names = "|".join(map(re.escape, entities))
            text = re.sub(rf"&({names});", lambda match: entities[match[1]], text)
    if (root := _IS_XHTML.search(begin)) and (prefix := root[1]):
        text = re.sub(rf"(</?){re.escape(prefix)}:(?=\w)", r"\1", text)
    text = _CDATA.sub(lambda match: escape(match[1], quote=False), text)
    return _SELF_CLOSED.sub(
        lambda tag: tag[0] if tag[1].lower() in VOID else f"<{tag[1]}{tag[2]}></{tag[1]}>", text
    )


def _close(text: str) -> str:
    """Return HTML without elements that end as in XML and never again.

    A browser takes all that follows for what is in them, which is not what the author meant.
    """
    last = dict[str, int]()

    def closed(match: re.Match[str]) -> str:
        tag = match[1].lower()
        if tag not in last:
            ends = re.finditer(rf"</{tag}\b", text, re.IGNORECASE)
            last[tag] = max((end.start() for end in ends), default=-1)
        return match[0] if last[tag] > match.start() else f"<{tag}{match[2]}></{tag}>"

    return _UNCLOSED.sub(closed, text)


def _framed(match: re.Match[str]) -> str:
    """Return the page in a frame, to stand before it."""
    return f"<div>{unescape(match[1][1:-1])}</div>{match[0]}"


def _raw(match: re.Match[str]) -> str:
    """Return what stands for an element in which tags are no tags."""
    return f"<pre>{escape(match[3], quote=False)}</pre>" if match[2] else ""

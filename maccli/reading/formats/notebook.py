"""Jupyter notebooks to text: their cells and what came out of them, without any JSON."""

from __future__ import annotations

import json
import re
from typing import Any

from maccli.reading.draft import Draft, one_line
from maccli.reading.encodings import Refused
from maccli.reading.formats import html, markup
from maccli.reading.formats.embedded import without_data

_LEVEL = re.compile(
    r"[ ]{0,3}(#{1,6})[ \t]|\s{0,3}<h([1-6])\b|[^\n]+\n(?:[^\n]+\n)?[ ]{0,3}(=|-){2}"
)
_HEADING_LINE = re.compile(r"[ ]{0,3}#|\s{0,3}<h[1-6]", re.IGNORECASE)
_STYLE = re.compile(r"<(style|script)\b[^>]*>.*?(?:</\1\s*>|\Z)", re.IGNORECASE | re.DOTALL)
_PAGE = re.compile(r"<(?:table|div|center|details|p|h[1-6]|ul|ol|dl|img|a)\b", re.IGNORECASE)
_MAGIC = re.compile(r"%%(bash|sh|sql|R|javascript|js|html|latex|perl|ruby)\b")
_COLOUR = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_OBJECT = re.compile(r"\s*<[^\n]*>\s*")  # what Python says of a picture


def read(text: str, name: str) -> Draft:
    """Return the text of a notebook; its places are "cell 7".

    Args:
        text: the file.
        name: of the file.

    Raises:
        Refused: it is no notebook, or damaged.
    """
    try:
        notebook = json.loads(text)
    except RecursionError:
        raise Refused("is no notebook: it has lists in lists without end") from None
    except ValueError as error:
        raise Refused(f"is a damaged notebook: {one_line(str(error))}") from error
    if not isinstance(notebook, dict) or not ({"cells", "worksheets"} & notebook.keys()):
        raise Refused("is no notebook: it has no cells")
    metadata = _dict(notebook.get("metadata"))
    language = _text(_dict(metadata.get("language_info")).get("name"))
    language = language or _text(_dict(metadata.get("kernelspec")).get("language"))
    sheets = [_dict(sheet) for sheet in _list(notebook.get("worksheets"))]  # before version 4
    cells = [*_list(notebook.get("cells"))]
    cells += [cell for sheet in sheets for cell in _list(sheet.get("cells"))]
    draft, pictures = Draft(), 0
    for number, cell in enumerate(map(_dict, cells), 1):
        draft.place(f"cell {number}")
        pictures += _write_cell(cell, draft, language)
    if pictures:
        draft.remarks.append(f"has {pictures} picture{'s' * (pictures > 1)} in it, left out")
    first = next((mark.heading for mark in draft.marks if mark.heading), "")
    draft.title = one_line(_text(metadata.get("title"))) or first or None
    return draft


def _write_cell(cell: dict[str, Any], draft: Draft, language: str) -> int:
    """Add a cell to the document; return how many pictures it leaves out."""
    kind = cell.get("cell_type")
    source = _text(cell.get("source")) or _text(cell.get("input"))
    if kind == "markdown":
        _write_markdown(source, draft)
    elif kind == "heading":
        level = cell.get("level")
        draft.heading(markup.plain(source), level if isinstance(level, int) else 1)
    elif kind == "code":
        magic = _MAGIC.match(source)
        draft.code(source, magic[1] if magic else _text(cell.get("language")) or language)
        return _write_outputs(_list(cell.get("outputs")), draft)
    else:
        draft.paragraph(source)
    return 0


def _write_markdown(source: str, draft: Draft) -> None:
    source = _STYLE.sub("", source)
    if source.lstrip().startswith("<") and source.rstrip().endswith(">") and _PAGE.search(source):
        html.write(source, "cell.html", draft)
        return
    part = markup.read(source, "cell.md")
    draft.remarks += part.remarks
    text, marks = part.text, part.marks
    for mark, end in zip(marks, [*(mark.start for mark in marks[1:]), len(text)], strict=True):
        lines = text[mark.start : end].split("\n")
        if mark.heading and (found := _LEVEL.match("\n".join(lines))):
            level = len(found[1]) if found[1] else int(found[2] or 1 + (found[3] == "-"))
            under = next((i for i, line in enumerate(lines) if re.match(r"\s*[=-]{2}", line)), 0)
            rest = 1 if _HEADING_LINE.match(lines[0]) else under + 1
            draft.heading(markup.plain(" ".join(lines[: max(rest - 1, 1)]).strip(" #")), level)
            lines = lines[rest:]
        draft.paragraph("\n".join(lines))


def _write_outputs(outputs: list[Any], draft: Draft) -> int:
    """Add what a cell has put out; return how many pictures are left out."""
    pictures = 0
    stream = list[str]()
    for output in [*map(_dict, outputs), {}]:
        kind = output.get("output_type")
        if kind == "stream":
            stream.append(_text(output.get("text")))
            continue
        _write_output("".join(stream), draft)
        stream = []
        if kind in ("error", "pyerr"):
            name, value = _text(output.get("ename")), _text(output.get("evalue"))
            _write_output(": ".join(filter(None, (name, value))), draft)
        elif kind:
            pictures += _write_data(output, draft)
    return pictures


def _write_data(output: dict[str, Any], draft: Draft) -> int:
    """Add one thing in the best of the forms that it is put out in."""
    data = _dict(output.get("data"))
    page = _text(data.get("text/html")) or _text(output.get("html"))
    plain = _text(data.get("text/plain")) or _text(output.get("text"))
    picture = any(key.startswith(("image/", "video/", "audio/")) for key in data)
    picture = picture or not output.keys().isdisjoint({"png", "jpeg", "svg"})
    if "<table" in page or (page and not plain):
        draft.paragraph("Output:")
        html.write(page, "output.html", draft)
        return int(picture)
    if markdown := _text(data.get("text/markdown")):
        draft.paragraph("Output:")
        draft.paragraph(without_data(markdown)[0])
    elif not (picture and _OBJECT.fullmatch(plain)):
        _write_output(plain or _text(data.get("text/latex")), draft)
    return int(picture)


def _write_output(text: str, draft: Draft) -> None:
    text = _COLOUR.sub("", text).replace("\r\n", "\n")
    # A bar of progress is drawn over itself.
    text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    if text.strip():
        draft.paragraph("Output:")
        draft.code(without_data(text)[0])


def _text(value: Any) -> str:
    """Return what is a string, or a list of its lines."""
    if isinstance(value, list):
        return "".join(line for line in value if isinstance(line, str))
    return value if isinstance(value, str) else ""


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []

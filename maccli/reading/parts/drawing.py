"""What Word, PowerPoint and Excel files share: charts, diagrams, formulas, symbols."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element

from maccli.reading.encodings import Refused
from maccli.reading.parts.blocks import Block
from maccli.reading.parts.package import Package, Relation, integer

A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
CHART = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
DIAGRAM = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}"
MATH = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
REL = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"

_GRAPHICS = frozenset({f"{CHART}chart", f"{DIAGRAM}relIds"})
ALTERNATIVES = f"{MC}AlternateContent"
_NO_DESCRIPTION = re.compile(
    r"\s*(Description automatically generated( with .*)?|AI-generated content may be incorrect\.?)",
    re.DOTALL,
)

_SYMBOLS = {
    "symbol": dict(
        zip(
            range(0x41, 0x7B),
            "ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ[∴]⊥_‾αβχδεφγηιϕκλμνοπθρστυϖωξψζ",
            strict=True,
        )
    )
    | dict(zip((0xA3, 0xA5, 0xAB, 0xAC, 0xAD, 0xAE, 0xAF, 0xB0), "≤∞↔←↑→↓°", strict=True))
    | dict(zip((0xB1, 0xB3, 0xB4, 0xB5, 0xB6, 0xB8, 0xB9, 0xBB), "±≥\xd7∝∂÷≠≈", strict=True))
    | dict(zip((0xB7, 0xC6, 0xCE, 0xD1, 0xD6, 0xDE, 0xE5, 0xF2), "•∅∈∇√⇒∑∫", strict=True)),
    "wingdings": dict(zip((0x6F, 0xA8, 0xE0, 0xFB, 0xFC, 0xFD, 0xFE), "□☐→✗✓☒☑", strict=True)),
    "wingdings 2": dict(zip((0x4F, 0x50, 0x51, 0x52, 0xA3), "✗✓☒☑☐", strict=True)),
}


def alternative(element: Element) -> Element:
    """Return the first of several ways to draw the same that has words in it, else the first."""
    ways = [way for way in element if way.tag in (f"{MC}Choice", f"{MC}Fallback")]
    return next(filter(_has_words, ways), next(iter(ways), element))


def _has_words(element: Element) -> bool:
    return any(
        bool(part.text) if part.tag.endswith("}t") else part.tag in _GRAPHICS
        for part in element.iter()
    )


def picture(description: str | None) -> str:
    """Return a picture's description as it stands in the text; "" if a program made it up."""
    text = " ".join(_NO_DESCRIPTION.sub("", description or "").split())
    is_name = re.fullmatch(r"\S*|.*\.(png|jpe?g|gif|emf|wmf|bmp|tiff?|svg)", text, re.IGNORECASE)
    return "" if is_name else f"[Picture: {text}]"


def graphic(package: Package, relation: Relation | None, remarks: list[str]) -> list[Block]:
    """Return the text of a chart or diagram that stands in a part of its own.

    Args:
        package: the file.
        relation: to the part.
        remarks: takes one more if the part cannot be read.
    """
    if relation is None or relation.target not in package:
        return []
    try:
        root = package.tree(relation.target)
    except Refused as error:
        remarks.append(f"a drawing cannot be read: it {error}")
        return []
    return chart(root) if root.tag == f"{CHART}chartSpace" else diagram(root)


def chart(root: Element) -> list[Block]:
    """Return a chart's title, and its values as a table: a row for each category."""
    title = " ".join(part.text or "" for part in root.findall(f".//{CHART}title//{A}t"))
    names, columns, categories = list[str](), list[dict[int, str]](), dict[int, str]()
    for series in root.iter(f"{CHART}ser"):
        for tag in ("cat", "xVal"):
            categories |= _points(series.find(f"{CHART}{tag}"))
        for tag in ("val", "yVal"):
            if points := _points(series.find(f"{CHART}{tag}")):
                name = _points(series.find(f"{CHART}tx")) or {
                    0: series.findtext(f"{CHART}tx/{CHART}v", "")
                }
                names.append(" ".join(name.values()) or f"Series {len(names) + 1}")
                columns.append(points)
    indexes = sorted({*categories, *(index for points in columns for index in points)})
    rows = [
        [categories.get(index, ""), *(points.get(index, "") for points in columns)]
        for index in indexes
    ]
    found = [Block(title.strip())] if title.strip() else []
    if columns:
        found.append(Block("", "table", rows=[["Category", *names], *rows], header=True))
    return found


def _points(element: Element | None) -> dict[int, str]:
    """Return the values of a chart's series, or its categories' names, by their number."""
    found: dict[int, str] = {}
    for point in element.iter(f"{CHART}pt") if element is not None else ():
        index, value = integer(point.get("idx")), point.findtext(f"{CHART}v", "").strip()
        if value:
            # Names on several levels come with the innermost first.
            before = found.get(index)
            found[index] = f"{number(value)}{f', {before}' if before else ''}"
    return found


def number(value: str) -> str:
    """Return a number as programs show it: 0.3 for 0.30000000000000004."""
    try:
        return f"{float(value):.15g}" if len(value) > 15 else value
    except ValueError:
        return value


def diagram(root: Element) -> list[Block]:
    """Return the texts of a diagram (SmartArt) as a list."""
    texts = (
        " ".join("".join(part.text or "" for part in line.iter(f"{A}t")) for line in lines)
        for point in root.iter(f"{DIAGRAM}pt")
        if point.get("type", "node") != "pres" and (lines := point.findall(f"{DIAGRAM}t/{A}p"))
    )
    return [Block(text.strip(), "item") for text in texts if text.strip()]


def symbol(font: str, code: int) -> str:
    """Return a character of a font that has pictures or Greek in the place of letters.

    Args:
        font: such as "Symbol"; of others, the character is what its code says.
        code: of the character, with or without the 0xF000 that marks such fonts.
    """
    private, font = 0xF000 <= code <= 0xF0FF, font.lower()
    if known := _SYMBOLS.get(font, {}).get(code & 0xFF if private else code):
        return known
    character = chr(code & 0xFF if font == "symbol" else code)
    return "•" if private and font != "symbol" else character if character.isprintable() else ""


def formula(element: Element) -> str:
    """Return a formula on one line: "x=(-b±√(b^2-4ac))/2a"."""
    tag = element.tag.removeprefix(MATH)
    if tag == "t":
        return element.text or ""
    if tag.endswith("Pr"):
        return ""
    parts = {child.tag.removeprefix(MATH): formula(child) for child in element}
    bound = {key: _whole(text) for key, text in parts.items()}
    if tag == "f":
        return f"{bound.get('num', '')}/{bound.get('den', '')}"
    if tag == "rad":
        return f"{parts.get('deg', '')}√{bound.get('e', '')}"
    scripts = "".join(
        f"{sign}{bound[key]}" for key, sign in (("sub", "_"), ("sup", "^")) if bound.get(key)
    )
    if tag == "nary":
        return f"{_setting(element, 'naryPr/chr', '∫')}{scripts} {parts.get('e', '')}"
    if scripts:
        return f"{parts.get('e', '')}{scripts}"
    inside = [formula(child) for child in element]
    if tag == "d":
        begin, end = _setting(element, "dPr/begChr", "("), _setting(element, "dPr/endChr", ")")
        return begin + _setting(element, "dPr/sepChr", "|").join(filter(None, inside)) + end
    return (" " if tag in ("mr", "m", "eqArr") else "").join(filter(None, inside))


def _whole(text: str) -> str:
    return text if len(text) < 2 or text.isalnum() else f"({text})"


def _setting(element: Element, path: str, usual: str) -> str:
    found = element.find("/".join(f"{MATH}{step}" for step in path.split("/")))
    return usual if found is None else found.get(f"{MATH}val", "")

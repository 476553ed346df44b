"""CSV, TSV, JSON Lines and JSON lists: a line for each row, which names its columns."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import PurePath
from typing import Any

from maccli.reading.draft import Draft, header_row, names_line, one_line, row_line
from maccli.reading.formats import markup
from maccli.reading.formats.embedded import without_data
from store.marks import Mark

_SAMPLE = 64 * 1024  # characters, for finding out what parts the cells
_TOP = 50  # rows, for finding out which one names the columns
_TORN = 100  # line breaks in one cell: more likely a quotation mark that nothing closes
# Letters beyond ASCII, as JSON may write them; others could end a string.
_ESCAPED = re.compile(r"(?<!\\)((?:\\\\)*+)((?:\\u(?!00[0-9])[0-9a-fA-F]{4})+)")


class _Object(list[tuple[str, Any]]):
    """A JSON object, all of its keys kept."""


# Numbers stay as they are written.
_parse = json.JSONDecoder(
    object_pairs_hook=_Object, parse_int=str, parse_float=str, parse_constant=str
).decode


def read(text: str, name: str) -> Draft:
    """Return a table line for line, each with its row; other JSON stays as it is.

    Args:
        text: of the file.
        name: of the file; its suffix says which of the formats it is in.
    """
    suffix = PurePath(name).suffix.lower()
    if suffix == ".json":
        return _json(text, name)
    draft = Draft()
    text, remarks = without_data(text)
    draft.remarks += remarks
    if suffix in {".jsonl", ".ndjson"}:
        draft.verbatim("\n".join(map(_json_line, text.split("\n"))), [Mark(0, "", "line 1")])
        return draft
    _fill(draft, _csv(text, suffix))
    return draft


def _fill(draft: Draft, lines: Iterable[tuple[int, str]]) -> None:
    """Add lines with the numbers of their rows."""
    parts, marks = list[str](), list[Mark]()
    start, expected = 0, 0
    for number, line in lines:
        if number != expected:
            marks.append(Mark(start, "", f"row {number}"))
        parts.append(line)
        start += len(line) + 1
        expected = number + 1
    draft.verbatim("\n".join(parts), marks)


def _csv(text: str, suffix: str) -> Iterator[tuple[int, str]]:
    """Yield a line for every row that is not empty, with its number in a spreadsheet."""
    delimiter, begin = _delimiter(text, suffix)
    rows = _rows(text, begin, delimiter)
    top = [[one_line(cell) for cell in row] for row in islice(rows, _TOP)]
    header = header_row(top)
    names = top[header] if header is not None else []
    prefixes = [f"{name}: " if name else "" for name in names]
    for index, row in enumerate(top):
        if index == header:
            line = names_line(row, top[index + 1 :])
        else:
            line = row_line([] if header is None or index < header else names, row)
        if line:
            yield index + 1, line
    for number, row in enumerate(rows, len(top) + 1):
        if len(row) > len(prefixes):
            prefixes += [""] * (len(row) - len(prefixes))
        # As row_line, for a million rows.
        named = [prefix + cell for prefix, cell in zip(prefixes, row, strict=False) if cell.strip()]
        if named:
            yield (
                number,
                one_line("; ".join(named)) if names else row_line([], list(map(one_line, row))),
            )


def _rows(text: str, begin: int, delimiter: str) -> Iterator[list[str]]:
    """Yield the cells of each row; quotation marks are plain signs if they do not come in pairs."""

    def parse(quoted: bool) -> Iterator[list[str]]:
        lines = io.StringIO(text, newline="")
        lines.seek(begin)
        return csv.reader(
            lines,
            delimiter=delimiter,
            quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
            skipinitialspace=True,
            escapechar=escape,
        )

    # Some databases write \\" for a quotation mark in a cell.
    escape = "\\" if '""' not in text and re.search(r'\\"[^\s,;|]', text) else None
    quotes = text.count('"') - (text.count('\\"') if escape else 0)
    most = 0 if quotes % 2 else _TORN
    limit = csv.field_size_limit(len(text) + 1)
    try:
        torn = quotes and any(
            "\n" in cell and cell.count("\n") > most for row in parse(True) for cell in row
        )
        yield from parse(not torn)
    finally:
        csv.field_size_limit(limit)


def _delimiter(text: str, suffix: str) -> tuple[str, int]:
    """Return what parts the cells, and where the first row begins."""
    first = text[:100].split("\n")[0].strip().strip('"')
    if first.lower().startswith("sep=") and len(first) == 5:  # as Excel writes it
        return first[4], text.index("\n") + 1 if "\n" in text else len(text)
    sample = text[:_SAMPLE]
    if len(text) > _SAMPLE:
        sample = sample[: sample.rfind("\n") + 1] or sample
    best, most = ",", 0.0
    for delimiter in "\t,;|" if suffix in {".tsv", ".tab"} else ",;\t|":
        rows = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter)
        widths = [len(row) for row in islice(rows, 100) if row]
        wide = [width for width in widths if width > 1]
        if wide:
            usual = max(set(wide), key=wide.count)
            score = wide.count(usual) / len(widths) + usual / 1000
            if score > most + 0.05 or (score > most and delimiter != "|"):
                best, most = delimiter, score
    return best, 0


def _json(text: str, name: str) -> Draft:
    """Return a list of flat objects as rows, and anything else as it is."""
    bare, remarks = without_data(text)
    try:
        found = _parse(bare)
    except (ValueError, RecursionError):
        lines = [line for line in text.split("\n") if line.strip()]
        if len(lines) > 1 and all(line.lstrip().startswith("{") for line in lines):
            return read(text, f"{name}.jsonl")
        found = None
    if not isinstance(found, list) or not found or not all(map(_is_flat, found)):
        return markup.read(_ESCAPED.sub(_unescaped, text), name)
    draft = Draft()
    draft.remarks += remarks
    rows = map(_line, found)
    _fill(draft, ((number, row) for number, row in enumerate(rows, 1) if row))
    return draft


def _unescaped(match: re.Match[str]) -> str:
    return match[1] + str(json.loads(f'"{match[2]}"'))


def _is_flat(item: Any, deep: bool = True) -> bool:
    """Return whether an object holds words and numbers, lists of them, or one object of such."""
    return isinstance(item, _Object) and all(
        (deep and _is_flat(value, False))
        or not isinstance(value, list)
        or (not isinstance(value, _Object) and not any(isinstance(one, list) for one in value))
        for _, value in item
    )


def _json_line(line: str) -> str:
    """Return a line of JSON Lines with its keys before the values; what is no JSON stays."""
    try:
        return _line(_parse(line)) if line.strip() else ""
    except (ValueError, RecursionError):
        return line


def _line(value: Any) -> str:
    cells = [(key, one_line(words)) for key, words in _flat(value, "")]
    return "; ".join(f"{key}: {words}" if key else words for key, words in cells if words)


def _flat(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield the values in a JSON value, each with its keys joined by dots."""
    if isinstance(value, _Object):
        for key, inner in value:
            yield from _flat(inner, f"{path}.{key}" if path else one_line(key))
    elif isinstance(value, list) and any(isinstance(inner, list) for inner in value):
        for number, inner in enumerate(value, 1):
            yield from _flat(inner, f"{path}.{number}" if path else str(number))
    elif isinstance(value, list):
        yield path, ", ".join(_word(inner) for inner in value)
    else:
        yield path, _word(value)


def _word(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)

"""Spreadsheets (.xlsx, .xlsm, .xlsb, .xls, .ods) to text, row by row."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from maccli.reading.draft import Draft, one_line
from maccli.reading.encodings import Refused
from maccli.reading.formats import opendocument
from maccli.reading.parts.blocks import checked
from maccli.reading.parts.drawing import REL, A
from maccli.reading.parts.grid import Room, in_words, no_room, write_sheet
from maccli.reading.parts.package import OLE, Package, integer, ole_refusal, protected

if TYPE_CHECKING:
    from python_calamine import CalamineSheet

_NAME = "spreadsheet"
_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_MAX_AREA = 20_000_000  # cells between the first and the last one, which the library holds at once
_MAX_FILLED = 1_000_000  # cells that stand in for merged ones
_MAX_REPEATED = 80  # a merged cell with more characters is not repeated in every row
_ROW = re.compile(rb"<(?:\w+:)?row [^>]*?\br=[\"'](\d{1,7})[\"']")
_COLUMN = re.compile(rb"<(?:\w+:)?c [^>]*?\br=[\"']([A-Z]{1,3})\d")
_UNCALCULATED = re.compile(
    rb"(?:</(?:\w+:)?f>|<(?:\w+:)?f\b[^>]*/>)\s*(?:<v>\s*</v>|<v\s*/>)?\s*</"
)
_FAULTY = re.compile(rb"<(?:\w+:)?c [^>]*\bt=[\"']e[\"']")
_THREADED = "{http://schemas.microsoft.com/office/spreadsheetml/2018/threadedcomments}"


def read(data: bytes, name: str) -> Draft:
    """Return the rows of all sheets; every line knows its sheet and row.

    Args:
        data: the file.
        name: of the file.

    Raises:
        Refused: it is encrypted, damaged, a bomb, or no spreadsheet.
        Empty: it has no text.
    """
    import python_calamine

    package = None
    if data.startswith(OLE):
        if "Book".encode("utf-16-le") not in data and "Workbook".encode("utf-16-le") not in data:
            raise ole_refusal(data, _NAME)
    else:
        package = Package(data, _NAME)
        if "content.xml" in package:
            return opendocument.read(data, name)
    draft = Draft()
    try:
        book = python_calamine.load_workbook(io.BytesIO(data))
    except python_calamine.PasswordError as error:
        raise protected(_NAME) from error
    except Exception as error:  # a damaged file can raise nearly anything in there
        raise Refused(_in_short(error)) from error
    parts = _parts(package) if package else {}
    room = Room()
    for title in book.sheet_names:
        part = parts.get(title, "")
        try:
            xml = package.read(part) if package and part.endswith(".xml") else b""
            if reason := _spread(xml):
                raise Refused(reason)
            rows, first = _rows(book.get_sheet_by_name(title), draft, room)
            aside = list(_aside(package, part)) if package and part else []
        except Exception as error:  # as above
            draft.remarks.append(f'sheet "{title}" is left out: it {_in_short(error)}')
            continue
        write_sheet(draft, title, rows, first)
        for text in aside:
            draft.paragraph(text)
        _remark(draft, title, xml)
    if package:
        draft.title = package.title()
    return checked(draft)


def _rows(sheet: CalamineSheet, draft: Draft, room: Room) -> tuple[list[list[str]], int]:
    """Return the cells of a sheet, from the first row that has any, and that row's number."""
    rows: list[list[str]] = []
    start = sheet.start or (0, 0)
    room.begin()
    for index, values in enumerate(sheet.iter_rows()):
        if index < start[0]:
            continue
        row = [value if isinstance(value, str) else in_words(value) for value in values]
        if not room.take(row):
            draft.remarks.append(no_room(sheet.name, index + 1))
            break
        rows.append(row if any(row) else [])
    left_to_fill = _MAX_FILLED
    for (top, left), (bottom, _) in sheet.merged_cell_ranges or ():
        column = left - start[1]
        left_to_fill -= bottom - top
        if left_to_fill < 0:
            break
        block = rows[max(top - start[0], 0) : bottom - start[0] + 1]
        text = "".join(block[0][column : column + 1]) if block and column >= 0 else ""
        for row in block[1:] if len(text) <= _MAX_REPEATED else ():
            if len(row) > column and not row[column]:
                row[column] = text
    return rows, start[0] + 1


def _parts(package: Package) -> dict[str, str]:
    """Return the name of the part that each sheet is in."""
    main = package.main("xl/workbook.xml")
    if not main.endswith(".xml"):  # a binary workbook (.xlsb)
        return {}
    related = package.relations(main)
    sheets = (
        (item.get("name", ""), item.get(f"{REL}id", ""))
        for item in package.tree(main).iter(f"{_MAIN}sheet")
    )
    found = {name: related[id].target for name, id in sheets if id in related}
    return {name: part for name, part in found.items() if part in package}


def _spread(xml: bytes) -> str:
    """Return why a sheet is too wide and too long at once to be read; "" if it is not."""
    rows = max((int(match[1]) for match in _ROW.finditer(xml)), default=0)
    names = {match[1] for match in _COLUMN.finditer(xml)}
    letters = max(names, key=lambda name: (len(name), name), default=b"")
    columns = 0
    for letter in letters:
        columns = columns * 26 + letter - ord("A") + 1
    if rows * columns <= _MAX_AREA:
        return ""
    return f"spreads its cells over {rows:,} rows and {columns:,} columns"


def _aside(package: Package, part: str) -> Iterator[str]:
    """Yield a sheet's comments and the texts of its shapes."""
    for relation in package.relations(part).values():
        if relation.target not in package:
            continue
        if relation.kind == "comments":
            root = package.tree(relation.target)
            authors = [author.text or "" for author in root.iter(f"{_MAIN}author")]
            for comment in root.iter(f"{_MAIN}comment"):
                text = "".join(line.text or "" for line in comment.iter(f"{_MAIN}t"))
                number = integer(comment.get("authorId"), len(authors))
                if not text.startswith("[Threaded comment]"):  # those come in a part of their own
                    yield _comment("".join(authors[number : number + 1]), comment.get("ref"), text)
        elif relation.kind == "threadedComment":
            for comment in package.tree(relation.target).iter(f"{_THREADED}threadedComment"):
                author = _persons(package).get(comment.get("personId", ""), "")
                text = comment.findtext(f"{_THREADED}text", "")
                yield _comment(author, comment.get("ref"), text)
        elif relation.kind == "drawing":
            for line in package.tree(relation.target).iter(f"{A}p"):
                yield "".join(run.text or "" for run in line.iter(f"{A}t"))


def _persons(package: Package) -> dict[str, str]:
    return {
        person.get("id", ""): person.get("displayName", "")
        for part in package.names("xl/persons/")
        for person in package.tree(part)
    }


def _comment(author: str, cell: str | None, text: str) -> str:
    by = f" by {one_line(author)}" if author.strip() else ""
    return f"Comment{by} on {cell}: {one_line(text)}" if text.strip() else ""


def _remark(draft: Draft, title: str, xml: bytes) -> None:
    """Say what is not in the file, though the cells are."""
    count = len(_UNCALCULATED.findall(xml))
    if count:
        cells = "1 cell holds a formula that was" if count == 1 else f"{count} formulas were"
        draft.remarks.append(
            f'sheet "{title}": {cells} never calculated; open the file and save it once'
        )
    count = len(_FAULTY.findall(xml))
    if count:
        cells = "1 cell holds an error" if count == 1 else f"{count} cells hold errors"
        draft.remarks.append(f'sheet "{title}": {cells} in the place of a value')


def _in_short(error: Exception) -> str:
    if isinstance(error, Refused):
        return str(error)
    return "is damaged: " + (str(error).splitlines() or [type(error).__name__])[0][:100]

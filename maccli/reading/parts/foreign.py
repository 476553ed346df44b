"""Documents of other formats inside of an office file."""

from __future__ import annotations

import posixpath

from maccli.reading import reader
from maccli.reading.encodings import Refused
from maccli.reading.parts.package import Package, Relation


def foreign(package: Package, relation: Relation | None, remarks: list[str]) -> str:
    """Return the text of a document that is a part of another one; "" if it cannot be read.

    Args:
        package: the file.
        relation: what refers to the document.
        remarks: of the file; what is to be said of the document is added.
    """
    try:
        if relation is None:
            raise Refused("is not there, or stands twice")
        name = posixpath.basename(relation.target)
        loaded = reader.read(package.read(relation.target), name)
    except Refused as error:
        remark = f"holds a document of another format, which is left out: it {error}"
        remarks += [remark] if remark not in remarks else []
        return ""
    remarks += loaded.remarks
    return loaded.text

"""What can be read into a store: files, what came from a pipe, and pages of the web."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass

from maccli import errors
from maccli.reading import files, loaders
from maccli.reading.encodings import Refused
from maccli.reading.files import FileItem, Unusable
from maccli.reading.loaders import Loaded

_URL = re.compile(r"https?://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Piped:
    """Bytes that came from a pipe; without a name they are known by their content."""

    data: bytes
    name: str | None = None

    @property
    def size(self) -> int:
        """The number of bytes."""
        return len(self.data)


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the web, which is fetched when it is read."""

    size = 0

    url: str


Item = FileItem | Unusable | Piped | Page


def items_of(
    paths: Sequence[str], name: str | None = None, exclude: Sequence[str] = ()
) -> list[Item]:
    """Return what `paths` mean: files, globs, folders and URLs, and stdin for "-".

    Args:
        paths: see `maccli.reading.files.find`.
        name: of the document that is read from stdin.
        exclude: patterns for what is left out, see `maccli.reading.files.find`.
    """
    urls = dict.fromkeys(path for path in paths if is_url(path))
    named = [path for path in paths if path not in urls and path != "-"]
    items: list[Item] = [*files.find(named, exclude), *map(Page, urls)]
    if "-" in paths:
        items.append(Piped(sys.stdin.buffer.read(loaders.MAX_BYTES + 1), name))
    return items


def is_url(path: str) -> bool:
    """Return whether a path means a page of the web."""
    return bool(_URL.match(path)) and not os.path.lexists(path)


def source_of(item: FileItem | Piped | Page) -> str:
    """Return the name in the store; a page that leads on to another one gets that one's."""
    if isinstance(item, FileItem):
        return item.source
    if isinstance(item, Page):
        return item.url
    return item.name or f"stdin-{hashlib.sha256(item.data).hexdigest()[:12]}"


def load(item: FileItem | Piped | Page, encoding: str | None) -> tuple[str, Loaded]:
    """Read an item; return its name in the store and its text.

    Raises:
        Refused: it cannot be a document, or cannot be fetched.
        OSError: it cannot be read.
    """
    if isinstance(item, FileItem):
        return item.source, loaders.load(item.path, encoding)
    if isinstance(item, Piped):
        return source_of(item), loaders.from_bytes(item.data, item.name or "", encoding)
    from maccli.reading import web  # which needs some time to import

    page = web.fetch(item.url)
    try:
        return page.url, loaders.from_bytes(page.data, page.name, encoding or page.encoding)
    except Refused:
        if encoding is not None or page.encoding is None:
            raise
    return page.url, loaders.from_bytes(page.data, page.name)  # the server was wrong


def why_not(error: Exception) -> tuple[str, str | None]:
    """Return why an item cannot be read, and the traceback if that is a fault of this program."""
    if isinstance(error, Refused):
        return str(error), None
    if isinstance(error, OSError):
        return f"cannot be read: {(error.strerror or str(error)).lower()}", None
    if (known := errors.explain(error)) is not None:
        return f"cannot be read: {known.message}", None
    return errors.bug(error), "".join(traceback.format_exception(error))

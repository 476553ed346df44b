"""Files on this disk, or behind a URL such as s3://bucket/folder, which fsspec reads and writes."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from maccli.errors import USAGE, MacError, install_hint
from maccli.reading import files

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Listed:
    """A file in a listing.

    Attributes:
        name: its path or URL.
        size: in bytes.
        version: changes when the file does: its etag, else its time.
        named: whether the user named it, rather than a folder that it lies in.
    """

    name: str
    size: int
    version: str
    named: bool = False


def is_remote(name: str) -> bool:
    """Return whether a name is a URL, and no path on this disk."""
    return bool(_SCHEME.match(name)) and not os.path.lexists(name)


def read(name: str, most: int) -> bytes:
    """Return the first `most` bytes of a file.

    Raises:
        OSError: it cannot be read.
        MacError: fsspec, or what it needs for such URLs, is not installed.
    """
    if not is_remote(name):
        with open(name, "rb") as file:
            return file.read(most)
    system, path = _remote(name)
    with explained(name), system.open(path, "rb") as file:
        data: bytes = file.read(most)
        return data


def listed(url: str) -> Iterator[Listed]:
    """Yield the files behind a URL, which is that of one file or of a folder, by their names.

    Raises:
        OSError: there is nothing, or it cannot be listed.
        MacError: see `read`.
    """
    system, path = _remote(url)
    with explained(url):
        found: dict[str, dict[str, Any]] = system.find(path, detail=True)
    if not found:
        raise FileNotFoundError(f"there is nothing at {url}")
    for name in sorted(found):
        about = found[name]
        hidden = any(part.startswith(".") for part in name.split("/"))
        if about.get("type", "file") == "file" and not hidden:
            version = next((about[key] for key in _VERSIONS if about.get(key)), "")
            size, named = int(about["size"] or 0), name == path
            yield Listed(system.unstrip_protocol(name), size, str(version), named)


_VERSIONS = ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "mtime")


class Folder:
    """A folder that files are written to, each of which appears when it is whole.

    Every method raises `OSError` or `MacError` if the folder cannot be used.

    Args:
        url: a path on this disk or a URL.
    """

    def __init__(self, url: str) -> None:
        self.url = url if url.endswith("://") else url.rstrip("/") or "/"
        self._system: Any = None
        if is_remote(url):
            self._system, self._root = _remote(self.url)
        else:
            self._root = str(Path(self.url).expanduser().absolute())

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @property
    def absolute(self) -> str:
        """Its absolute path or its URL, which processes with another working folder understand."""
        return self.url if self._system else self._root

    def holds(self, name: str) -> bool:
        """Return whether a file of a listing lies in this folder."""
        root = files.real_name(self._root)
        if self._system is not None:
            root = self._system.unstrip_protocol(self._root)
        return name.startswith(root.rstrip("/") + "/")

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes; None if there is none."""
        try:
            if self._system is None:
                return os.stat(self._path(name)).st_size
            with explained(self.url):
                size: int = self._system.size(self._path(name))
                return size
        except FileNotFoundError:
            return None

    def read(self, name: str) -> bytes | None:
        """Return what is in a file; None if there is none."""
        try:
            if self._system is None:
                return Path(self._path(name)).read_bytes()
            with explained(self.url):
                data: bytes = self._system.cat_file(self._path(name))
                return data
        except FileNotFoundError:
            return None

    def fetch(self, name: str, path: Path) -> None:
        """Copy a file to a path on this disk."""
        if self._system is None:
            shutil.copyfile(self._path(name), path)
        else:
            with explained(self.url):
                self._system.get_file(self._path(name), str(path))

    def put(self, name: str, path: Path) -> None:
        """Write a file with what is at a path on this disk."""
        if self._system is not None:
            with explained(self.url):
                self._system.put_file(str(path), self._path(name))
            return
        target = Path(self._path(name))
        target.parent.mkdir(parents=True, exist_ok=True)
        # Of two workers that make the same file each has its own, and the last one counts.
        partial = target.with_name(f".{target.name}.{uuid4().hex}.partial")
        try:
            shutil.copyfile(path, partial)
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)

    def write(self, name: str, data: bytes) -> None:
        """Write a small file."""
        with tempfile.NamedTemporaryFile(prefix="mac-") as file:
            file.write(data)
            file.flush()
            self.put(name, Path(file.name))


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Turn what the libraries behind fsspec raise, each in its own way, into a line about a URL."""
    try:
        yield
    except (OSError, MacError):
        raise
    except Exception as error:
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise MacError(
            f"{url} cannot be used: {line}", "Check the address and the credentials."
        ) from error


def _remote(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the path in it."""
    try:
        import fsspec
    except ImportError as error:
        raise MacError(f"{url} needs the package fsspec.", install_hint("s3"), USAGE) from error
    try:
        # Listings are read anew: other machines write beside this one.
        system, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise MacError(f"{url} cannot be used: {error}.", install_hint("s3"), USAGE) from error
    if not path.strip("/"):
        raise MacError(f"{url} names no folder.", "Give it one: s3://bucket/folder.", USAGE)
    return system, path

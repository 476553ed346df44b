"""Files: replacing one as a whole, and its digest."""

from __future__ import annotations

import glob
import hashlib
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path

ABANDONED = 3600
"""Seconds after which the part of a file that nobody finished belongs to a process that died."""


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one, never a part.

    Raises:
        OSError: it cannot be written.
    """
    # Another process may be writing the same file, so the name is random. Files that `tempfile`
    # makes could be read by this user only.
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.part")
    remove_abandoned(path)
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_abandoned(path: Path) -> None:
    """Remove what writers of a file that died left beside it, once it is old enough."""
    for part in path.parent.glob(f"{glob.escape(path.name)}.{'[0-9a-f]' * 16}.part"):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > ABANDONED:
                part.unlink()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content as hexadecimal digits.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

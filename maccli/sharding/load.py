"""Taking exported files, or the shards of a folder as its manifest names them, into a store."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from maccli.errors import USAGE, MacError
from maccli.service import moving
from maccli.sharding.places import Folder, is_remote
from maccli.sharding.plan import FORMAT, MANIFEST
from maccli.sharding.run import Share
from maccli.sharding.work import ShardRecord

if TYPE_CHECKING:
    from store.moving.load import Imported, Policy


def load(
    folder: Path,
    file: str,
    policy: Policy,
    advance: Callable[[int], None],
    on_size: Callable[[int], None],
    share: Share | None = None,
) -> Imported:
    """Take documents that were exported into the store in `folder`, which is made if need be.

    Documents that the store has are left alone, so that an import that was cut short is completed
    by running it again.

    Args:
        folder: of the store.
        file: an exported file, "-" for standard input, or the path or URL of a folder of shards.
        policy: see `store.moving.load.load`.
        advance: called with a number of bytes; they add up to the whole size.
        on_size: called with the whole size before the rest, if it is known.
        share: of the shards that are to be taken in; None for all.

    Raises:
        MacError: there is no manifest, or a shard is not the one that it names; or it is one file,
            of which there is no part.
        StoreError: the store cannot be used, or is of another checkpoint.
        ExportFormatError: the file is no export, or is damaged.
        OSError: it cannot be read.
    """
    if file == "-" or not (is_remote(file) or Path(file).is_dir()):
        if share is not None:
            raise MacError("--shard goes with a folder of shards.", exit_code=USAGE)
        if file != "-":
            on_size(Path(file).expanduser().stat().st_size)
        return moving.load(folder, file, policy, advance)
    shards = (share or Share()).of(_shards(file))
    on_size(sum(shard.bytes for shard in shards))
    return _load_shards(folder, file, shards, policy, advance)


def _shards(url: str) -> list[ShardRecord]:
    """Return the shards that the manifest in a folder names.

    Raises:
        MacError: there is no manifest, or it cannot be used.
    """
    data = Folder(url).read(MANIFEST)
    if data is None:
        raise MacError(
            f"There is no {MANIFEST} in {url}: not all of its shards are there yet.",
            "Run the same mac ingest --out again; it goes on where it stopped.",
        )
    try:
        known = json.loads(data)
        if known["format"] != FORMAT:
            raise MacError(f"{url} was written by another version of mac.", "Update mac.")
        return [_checked(ShardRecord(**shard)) for shard in known["shards"]]
    except (ValueError, KeyError, TypeError) as error:
        raise MacError(f"{MANIFEST} in {url} is damaged.", "Run mac ingest --out again.") from error


def _checked(shard: ShardRecord) -> ShardRecord:
    """Return a shard of a manifest, which anybody may have written, if its file is one of ours.

    Raises:
        ValueError: it is not.
    """
    ours = re.fullmatch(r"[0-9a-f]{20}", shard.shard) and isinstance(shard.bytes, int)
    if not ours or shard.file != f"shards/{shard.shard}.mac":
        raise ValueError("no file of a shard")
    return shard


def _load_shards(
    folder: Path,
    file: str,
    shards: Sequence[ShardRecord],
    policy: Policy,
    advance: Callable[[int], None],
) -> Imported:
    from store.moving.load import Imported, load

    done, place = Imported(), Folder(file)
    for shard in shards:
        with tempfile.TemporaryDirectory(prefix="mac-shard-") as temporary:
            path = Path(temporary) / "shard.mac"
            place.fetch(shard.file, path)
            with path.open("rb") as copy:
                digest = hashlib.file_digest(copy, "sha256").hexdigest()
            if digest != shard.sha256:
                raise MacError(
                    f"{shard.file} in {file} is damaged.",
                    "Remove it and run the same mac ingest --out again.",
                )
            one = load(folder, path, policy, advance)
        for name in ("added", "updated", "unchanged", "skipped"):
            setattr(done, name, getattr(done, name) + getattr(one, name))
    return done

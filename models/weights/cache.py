"""The cache of base models: each has a folder of its own, which is complete or does not exist.

A small manifest beside the files says what they were made from. A model is built in a folder of
another name and moved into place, under a lock, so that a crash or a second process never leaves
half of one. torch and transformers are imported only while something is converted.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from models.errors import WeightsError
from models.weights.carriers import Transfer, first_line
from models.weights.pinned import PINNED, Pinned, PinnedFile

_MANIFEST = "mac-model.json"
_FORMAT = 1  # of a converted folder; another number and the model is converted again


@dataclass(frozen=True, slots=True)
class Installed:
    """A model in the cache: its folder, bytes on disk, and the SHA-256 of its source."""

    name: str
    kind: str
    path: Path
    bytes: int
    sha256: str
    licence: str


def models_folder(home: Path | None = None) -> Path:
    """Return the folder of converted models: in `home`, else in MAC_HOME, else the user's cache."""
    if home is None:
        variable = os.environ.get("MAC_HOME")
        home = Path(variable).expanduser() if variable else user_cache_path("mac", appauthor=False)
    return home / "models"


def installed(home: Path | None = None) -> list[Installed]:
    """Return the complete models in the cache, by name: pinned ones and converted GGUF files."""
    models = []
    for manifest in sorted(models_folder(home).glob(f"*/{_MANIFEST}")):
        path = manifest.parent
        model = PINNED.get(path.name) or _converted(manifest)
        if model is not None and is_complete(path, model):
            size = sum(file.stat().st_size for file in path.iterdir())
            models.append(
                Installed(model.name, model.kind, path, size, model.weights.sha256, model.licence)
            )
    return models


def gguf_model(name: str, file: PinnedFile) -> Pinned:
    """Return the description of a converted GGUF file in the cache."""
    return Pinned(name, "lm", _GGUF_LICENCE, (file,), "", "", "", 0)


_GGUF_LICENCE = "its own"


def _converted(manifest: Path) -> Pinned | None:
    """Return the GGUF file that a folder was made from, as its manifest says."""
    try:
        ((name, digest),) = json.loads(manifest.read_bytes())["sha256"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # not one of ours
    return gguf_model(manifest.parent.name, PinnedFile(name, digest, 0))


def ensure(
    model: Pinned,
    home: Path | None,
    fetch: Callable[[Path], tuple[dict[str, Path], str]],
    progress: Transfer | None,
) -> Path:
    """Return the folder of a model in the cache; install the model first where it is missing.

    Args:
        model: its description.
        home: see `models_folder`.
        fetch: returns the files (paths by name) and the carrier they came from; its argument is a
            folder to work in.
        progress: told what is being done.
    """
    folder = models_folder(home)
    path = folder / model.name
    if is_complete(path, model):
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f".{model.name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if progress:
                progress(f"waiting for another process that pulls {model.name}", 0, None)
            lock.acquire()
        try:
            if not is_complete(path, model):  # another process may have pulled it meanwhile
                work = folder / f".{model.name}.partial"
                files, carrier = fetch(work)
                _install(model, path, work, files, carrier, progress)
        finally:
            lock.release()
    except WeightsError:
        raise
    except OSError as error:
        raise WeightsError(
            f"cannot write {path}: {error.strerror or error}",
            "a pull of both models needs about 1 GB; MAC_HOME moves them to another disk",
        ) from error
    return path


def _install(
    model: Pinned,
    path: Path,
    work: Path,
    files: dict[str, Path],
    carrier: str,
    progress: Transfer | None,
) -> None:
    """Convert or copy a model's files and move the result into place whole."""
    new = work / "new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    if model.kind == "lm":
        if progress:
            progress(f"converting {model.name}", 0, None)
        from models.weights.gguf import convert_gguf

        source = files[model.weights.name]
        try:
            convert_gguf(source, new)
        except OSError:
            raise  # a full disk, for example
        # transformers and gguf raise anything, struct.error too, for what they cannot read.
        except Exception as error:
            raise WeightsError(
                f"{source} cannot be read as a base model: {first_line(error)}",
                "transformers reads GGUF files of common families; a folder with safetensors works",
            ) from error
    else:
        for name, file in files.items():
            shutil.copyfile(file, new / name)
    manifest = {
        "format": _FORMAT,
        "name": model.name,
        "licence": model.licence,
        "carrier": carrier,
        "sha256": {file.name: file.sha256 for file in model.files},
        "bytes": {file.name: file.stat().st_size for file in new.iterdir()},
    }
    (new / _MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    if path.exists():  # incomplete or of an older format, or we would not be here
        shutil.rmtree(path)
    new.replace(path)
    shutil.rmtree(work, ignore_errors=True)


def is_complete(path: Path, model: Pinned) -> bool:
    """Return whether the folder is a complete conversion of exactly these files in this format."""
    try:
        manifest = json.loads((path / _MANIFEST).read_bytes())
        return (
            manifest["format"] == _FORMAT
            and manifest["sha256"] == {file.name: file.sha256 for file in model.files}
            and all((path / f).stat().st_size == size for f, size in manifest["bytes"].items())
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False  # no manifest, or not one of ours: pull it again

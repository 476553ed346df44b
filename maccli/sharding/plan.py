"""The plan of an ingest on many machines: which inputs make which shard."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from maccli.errors import USAGE, MacError
from maccli.reading import files
from maccli.reading.files import Unusable
from maccli.sharding import places
from maccli.sharding.places import Folder, Listed
from models.text import chunking

if TYPE_CHECKING:
    from maccli.service.session import StoreAndModel

PLAN, MANIFEST = "plan.jsonl", "manifest.json"
FORMAT = 1
SHARD_BYTES, SHARD_FILES = 10**6, 4096
"""What a shard holds at most, if it is more than one file: so much text takes a CPU minutes."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What decides, besides the inputs, what becomes of a shard.

    Attributes:
        fingerprint: of the checkpoint, and of the encoder if it is not the checkpoint's own.
        model: what the checkpoint is called.
        encoder: what the encoder is called; None for the checkpoint's own.
        chunking: the rules by which texts are cut.
        encoding: of every file; None finds it out.
        tags: those of every document.
        date: that of every document; None for none.
    """

    fingerprint: str
    model: str
    encoder: str | None
    chunking: str
    encoding: str | None = None
    tags: tuple[str, ...] = ()
    date: str | None = None


def rules_of(
    choice: StoreAndModel,
    encoding: str | None = None,
    tags: tuple[str, ...] = (),
    date: str | None = None,
) -> Rules:
    """Return the rules in force with a checkpoint; the rest as in `Rules`."""
    encoder, rules = choice.encoder.name if choice.encoder else None, chunking.VERSION
    return Rules(choice.fingerprint, choice.model, encoder, rules, encoding, tags, date)


@dataclass(frozen=True, slots=True)
class Shard:
    """Inputs that become one file.

    Attributes:
        id: a digest of the inputs' names, sizes and versions, and of the rules.
        inputs: the names, which are those of the documents.
        size: bytes of all.
    """

    id: str
    inputs: tuple[str, ...]
    size: int

    @property
    def file(self) -> str:
        """The name of the file that it becomes."""
        return f"shards/{self.id}.mac"

    @property
    def record(self) -> str:
        """The name of the file that says what became of it, written after that."""
        return f"shards/{self.id}.json"

    @property
    def errors(self) -> str:
        """The name of the file with a line for each input that could not be read."""
        return f"shards/{self.id}.errors.jsonl"


@dataclass(frozen=True, slots=True)
class Plan:
    """All shards of an ingest.

    Attributes:
        rules: what holds for all of them.
        shards: in the order of their inputs.
        named: the inputs that the user named, rather than a folder that they lie in.
    """

    rules: Rules
    shards: tuple[Shard, ...]
    named: frozenset[str] = frozenset()

    def as_lines(self) -> bytes:
        """Return the plan as it is written: the rules, then a line a shard."""
        head = {"format": FORMAT, **asdict(self.rules)}
        lines = [head, *map(asdict, self.shards)]
        return "".join(json.dumps(line) + "\n" for line in lines).encode()


def prepare(
    paths: Sequence[str],
    out: Folder,
    rules: Rules,
    *,
    exclude: Sequence[str] = (),
    most: int = SHARD_BYTES,
) -> tuple[Plan, list[Unusable]]:
    """Plan the shards of files, folders, globs and URLs, and write the plan into `out`.

    Args:
        paths: what to ingest.
        out: where the shards go; what lies in it is no input.
        rules: see `Rules`.
        exclude: patterns of what to leave out of folders.
        most: the most bytes of a shard, if it is more than one file.

    Returns:
        the plan, and what cannot be ingested.

    Raises:
        MacError: `out` holds the shards of another ingest.
        OSError: `out` cannot be written.
    """
    inputs, unusable = inputs_of(paths, exclude)
    plan = make([each for each in inputs if not out.holds(each.name)], rules, most)
    if plan.shards:
        write_plan(plan, out)
    return plan, unusable


def inputs_of(
    paths: Sequence[str], exclude: Sequence[str] = ()
) -> tuple[list[Listed], list[Unusable]]:
    """Return the files that paths, globs, folders and URLs mean, and what is no file."""
    local = [path for path in paths if not places.is_remote(path)]
    if "-" in local:
        raise MacError("Standard input cannot be cut into shards.", "Name files.", USAGE)
    found: list[Listed] = []
    unusable: list[Unusable] = []
    for item in files.find(local, exclude):
        if isinstance(item, Unusable):
            unusable.append(item)
        else:
            version = str(item.path.stat().st_mtime_ns)
            found.append(Listed(item.source, item.size, version, not item.walked))
    for url in dict.fromkeys(path for path in paths if places.is_remote(path)):
        try:
            found += places.listed(url)
        except OSError as error:
            unusable.append(Unusable(url, f"cannot be listed: {error}"))
    return list({each.name: each for each in found}.values()), unusable


def make(inputs: Sequence[Listed], rules: Rules, most: int = SHARD_BYTES) -> Plan:
    """Cut inputs into shards of at most so many bytes, or of one file."""
    shards = tuple(_shard(group, rules) for group in _groups(inputs, most))
    return Plan(rules, shards, frozenset(each.name for each in inputs if each.named))


def _groups(inputs: Sequence[Listed], most: int) -> Iterator[list[Listed]]:
    group: list[Listed] = []
    size = 0
    for each in inputs:
        if group and (size + each.size > most or len(group) == SHARD_FILES):
            yield group
            group, size = [], 0
        group.append(each)
        size += each.size
    if group:
        yield group


def _shard(group: Sequence[Listed], rules: Rules) -> Shard:
    known = [[each.name, each.size, each.version] for each in group]
    digest = hashlib.sha256(json.dumps([known, asdict(rules)]).encode()).hexdigest()
    names = tuple(each.name for each in group)
    return Shard(digest[:20], names, sum(each.size for each in group))


def write_plan(plan: Plan, out: Folder) -> None:
    """Write the plan into a folder, or make sure that it is the one that is there.

    Raises:
        MacError: another one is.
        OSError: the folder cannot be written.
    """
    stored = out.read(PLAN)
    if stored is None:
        out.write(PLAN, plan.as_lines())
    elif stored != plan.as_lines():
        raise MacError(
            f"{out.url} holds the shards of another ingest: inputs, model or options differ.",
            "Name a new folder with --out, or the same inputs and options as before.",
            USAGE,
        )

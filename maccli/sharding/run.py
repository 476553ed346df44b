"""Running the shards of a plan: one after the other in this process, or on Ray's actors."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from maccli.errors import USAGE, MacError, install_hint
from maccli.service.session import Session
from maccli.sharding.places import Folder
from maccli.sharding.plan import FORMAT, MANIFEST, Plan, Shard
from maccli.sharding.work import Job, ShardRecord, Worker, finished

if TYPE_CHECKING:
    from maccli.service.session import Tell
    from models.memory.protocol import Progress
    from models.weights.carriers import Transfer

Engine = Literal["local", "ray"]


Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Share:
    """A part of the shards: the `number`th of `parts` workers that know nothing of each other."""

    number: int = 1
    parts: int = 1

    def of(self, shards: Sequence[Item]) -> Sequence[Item]:
        """Return this part of some shards."""
        return shards[self.number - 1 :: self.parts]


def run(
    plan: Plan,
    job: Job,
    *,
    engine: Engine = "local",
    address: str | None = None,
    share: Share | None = None,
    progress: Progress | None = None,
    transfer: Transfer | None = None,
    tell: Tell | None = None,
) -> list[ShardRecord] | None:
    """Amortize what is not there yet; write the manifest when everything is.

    Args:
        plan: the shards.
        job: what they have in common.
        engine: "local", one after the other in this process, or "ray".
        address: of a Ray cluster; None starts one on this machine.
        share: of the shards that are to be amortized; None for all.
        progress: is advanced by the bytes of the inputs.
        transfer: told about downloads, in this process.
        tell: told what takes a while, in this process.

    Returns:
        what the manifest says of each shard; None if some are missing, which others amortize.

    Raises:
        MacError: there is no shard, the engine is not installed, or the model cannot be used.
        OSError: a shard cannot be written.
    """
    if not plan.shards:
        raise MacError("There is no file to ingest.")
    out = Folder(job.out)
    share = share or Share()
    mine = share.of(plan.shards)
    there = {shard.id: done for shard in mine if (done := finished(shard, out)) is not None}
    todo = [shard for shard in mine if shard.id not in there]
    sizes = {shard.id: shard.size for shard in mine}
    advance = progress.advance if progress else lambda _: None
    advance(sum(sizes[shard] for shard in there))
    if not todo:
        amortized: Iterator[ShardRecord] = iter(())
    elif engine == "ray":
        amortized = _ray(todo, job, address)
    else:
        worker = Worker(job, Session(job.choice, transfer=transfer, tell=tell))
        amortized = (worker.amortize(shard) for shard in todo)
    for done in amortized:
        there[done.shard] = done
        advance(sizes[done.shard])
    return commit(plan, out, there)


def commit(plan: Plan, out: Folder, there: Mapping[str, ShardRecord]) -> list[ShardRecord] | None:
    """Write the manifest if every shard is there. Returns as `run`.

    Args:
        plan: the shards.
        out: where they are.
        there: by id, those that are known to be there; the others are looked for.
    """
    known = []
    for shard in plan.shards:
        done = there.get(shard.id) or finished(shard, out)
        if done is None:
            return None
        known.append(done)
    manifest = {
        "format": FORMAT,
        **asdict(plan.rules),
        **{name: sum(getattr(d, name) for d in known) for name in ("documents", "chunks", "bytes")},
        "shards": list(map(asdict, known)),
    }
    out.write(MANIFEST, json.dumps(manifest, indent=1).encode())
    return known


def unread(plan: Plan, done: Sequence[ShardRecord], out: Folder) -> set[str]:
    """Return the inputs that could not be read, of shards that are all there."""
    files = [s.errors for s, known in zip(plan.shards, done, strict=True) if known.errors]
    lines = [line for file in files for line in (out.read(file) or b"").splitlines()]
    return {json.loads(line)["source"] for line in lines}


class _Actor:
    """A process of Ray's that keeps the model between shards; a row is a shard."""

    def __init__(self, job: Job) -> None:
        self._worker = Worker(job)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        shard = json.loads(row["shard"])
        done = self._worker.amortize(Shard(shard["id"], tuple(shard["inputs"]), shard["size"]))
        return {"done": json.dumps(asdict(done))}


def _ray(todo: Sequence[Shard], job: Job, address: str | None) -> Iterator[ShardRecord]:
    """Amortize shards on all of a cluster's GPUs, or on its CPUs; one that dies is begun again."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MacError("Ray is not installed.", install_hint("ray"), USAGE) from error
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    started = not ray.is_initialized()
    try:
        if started:
            ray.init(
                address=address,
                log_to_driver=False,
                include_dashboard=False,
                logging_level=logging.ERROR,
            )
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        gpus, cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
        ray.data.DataContext.get_current().enable_progress_bars = False
        most = max(1, min(gpus or cpus, len(todo)))
        rows = ray.data.from_items(
            [{"shard": json.dumps(asdict(shard))} for shard in todo],
            override_num_blocks=len(todo),
        )
        actor: Any = _Actor
        amortized = rows.map(
            actor,
            fn_constructor_args=(job,),
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=most),
            num_gpus=1 if gpus else 0,
            num_cpus=0 if gpus else 1,
        )
        for row in amortized.iter_rows():
            yield ShardRecord(**json.loads(row["done"]))
    except (ray.exceptions.RayError, ConnectionError) as error:
        message = str(getattr(error, "cause", None) or error).strip() or type(error).__name__
        raise MacError(
            f"Ray could not go on: {message.splitlines()[-1]}",
            "Shards that are done are kept: run it again.",
        ) from error
    finally:
        if started:
            ray.shutdown()

"""`mac ingest --out`: documents into shards, for more text than one machine amortizes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from maccli import config, errors
from maccli.commands import options
from maccli.output import Output, count, size
from maccli.reading.files import displayed

if TYPE_CHECKING:
    from maccli.sharding.run import Engine, Share
    from store.labels import Labels


def _share(ctx: click.Context, param: click.Parameter, value: str | None) -> Share | None:
    """Return the part of the shards that a text such as "2/8" means."""
    if value is None:
        return None
    from maccli.sharding.run import Share

    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", value)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise click.BadParameter(f"{value!r} is no part such as 1/8 or 8/8", ctx, param)
    return Share(int(found[1]), int(found[2]))


share_option = click.option(
    "--shard",
    "share",
    metavar="I/N",
    callback=_share,
    help="Only a part of the shards, such as 1/8.",
)
shard_options = options.apply(
    click.option(
        "--out",
        "out_url",
        metavar="URL",
        help="Write shards into this folder or URL, and no store.",
    ),
    click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        help="What amortizes the shards.  [default: local]",
    ),
    click.option(
        "--address",
        metavar="ADDRESS",
        help="That of a Ray cluster.  [default: one is started]",
    ),
    click.option(
        "--shard-size",
        metavar="MB",
        type=click.FloatRange(min=0, min_open=True),
        help="Cut the files into shards of so many megabytes, with --out.  [default: 1]",
    ),
    share_option,
)


def ingest_shards(
    out: Output,
    paths: tuple[str, ...],
    url: str,
    *,
    exclude: tuple[str, ...],
    model: str | None,
    device: str | None,
    encoding: str | None,
    labels: Labels,
    engine: Engine,
    address: str | None,
    share: Share | None,
    shard_size: float | None,
) -> int:
    """Amortize documents into shards; return the exit code."""
    from maccli.sharding import plan as planning
    from maccli.sharding.places import Folder
    from maccli.sharding.run import run, unread
    from maccli.sharding.work import Job

    with options.open_mac(out, None, model, device) as mac:
        choice = mac.session.choice
    folder = Folder(url)
    plan, unusable = planning.prepare(
        paths,
        folder,
        planning.rules_of(choice, encoding, *labels.applied((), None)),
        exclude=(*config.patterns("exclude"), *exclude),
        most=planning.SHARD_BYTES if shard_size is None else max(1, int(shard_size * 1e6)),
    )
    for item in unusable:
        (out.note if item.walked else out.problem)(f"{displayed(item.path)}: {item.reason}")
    job = Job(folder.absolute, choice, encoding, labels)
    with (
        out.transfers() as transfer,
        out.progress(sum(shard.size for shard in plan.shards), "B", "ingest") as progress,
    ):
        done = run(
            plan,
            job,
            engine=engine,
            address=address,
            share=share,
            progress=progress,
            transfer=transfer,
            tell=out.tell,
        )
    if done is None:
        if out.json:
            out.record({"complete": False})
        else:
            out.text(f"This part is done. Shards of other parts are missing in {url} so far.")
        return errors.DONE
    wrong = sum(shard.errors for shard in done)
    numbers = {
        "complete": True,
        "shards": len(done),
        **{n: sum(getattr(d, n) for d in done) for n in ("documents", "chunks", "bytes")},
        "errors": wrong,
    }
    if out.json:
        out.record(numbers)
    else:
        shards, documents = count(len(done), "shard"), count(numbers["documents"], "document")
        out.text(f"{documents} in {shards}, {size(numbers['bytes'])}. Use them with:")
        out.text(f"  mac store import {url}")
    if wrong:
        out.warn(f"{count(wrong, 'file')} could not be read: see shards/*.errors.jsonl in {url}")
    # A file in a folder was not asked for by name: it is left out, without alarm.
    named = any(not item.walked for item in unusable) or plan.named & unread(plan, done, folder)
    return errors.FAILED if named else errors.DONE

"""`mac store stats` and `mac store path`: how large the store is, and where."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from maccli import config
from maccli.commands import options
from maccli.output import Output, count, size


@click.command()
@options.apply(options.store_option, options.json_option)
def stats(store: Path | None, as_json: bool) -> None:
    """Show how much is in the store and which model wrote it.

    \b
    Examples:
      mac store stats
      mac store stats --json | jq .total_bytes
    """
    out = Output(json=as_json)
    with options.open_mac(out, store) as mac:
        numbers = mac.stats()
    if out.json:
        out.record({"path": str(mac.folder), **asdict(numbers)})
        return
    remembered = numbers.chunks - numbers.pruned
    partial = f"{count(numbers.partial, 'document')}; run mac ingest FILE to finish"
    merged = numbers.modulations < remembered
    rows = [
        ("path", str(mac.folder)),
        ("documents", f"{numbers.documents:,}"),
        ("partial", partial if numbers.partial else ""),
        ("chunks", f"{numbers.chunks:,}"),
        ("pruned", f"{numbers.pruned:,}" if numbers.pruned else ""),
        ("after prunes", f"{numbers.modulations:,} modulations" if merged else ""),
        ("tokens", f"{numbers.tokens:,}"),
        ("text", _of_each(numbers.text_bytes, numbers.chunks)),
        ("modulations", _of_each(numbers.modulation_bytes, remembered)),
        ("keys", _of_each(numbers.key_bytes, remembered)),
        ("on disk", size(numbers.total_bytes)),
        ("model", f"{numbers.model} ({numbers.fingerprint})"),
        ("created", numbers.created_at),
    ]
    for name, value in rows:
        if value:
            out.text(f"{name:12} {value}")


@click.command()
@options.store_option
def path(store: Path | None) -> None:
    """Print the folder of the store.

    The folder may not exist yet.

    \b
    Examples:
      mac store path
      du -sh "$(mac store path)"
    """
    Output().text(str(config.folder("store", store)))


def _of_each(octets: int, chunks: int) -> str:
    """Return a size, and the average per chunk."""
    return f"{size(octets)}, {size(octets // chunks)} a chunk" if chunks else size(octets)

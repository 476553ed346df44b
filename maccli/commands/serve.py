"""`mac serve`: the store and the model for other programs, over HTTP."""

from __future__ import annotations

from pathlib import Path

import click

from maccli.commands import options
from maccli.output import Output


@click.command()
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="The address to listen at; other machines reach 0.0.0.0, for which a key is needed.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8642,
    show_default=True,
    metavar="N",
    help="The port; 0 for any that is free.",
)
@click.option(
    "--key-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A file with the key that clients must show.  [default: MAC_SERVER_KEY, if it is set]",
)
@click.option(
    "--allow-host",
    "allow_hosts",
    metavar="NAME",
    multiple=True,
    help="A further name of this server, such as mac.example.org.",
)
@click.option(
    "--also",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    multiple=True,
    help="Serve this store, too, as mac/NAME, its folder's name.",
)
@options.number(
    "--queue", default=16, show_default=True, help="How many questions may wait for their turn."
)
@options.apply(options.where_options, options.quiet_option)
def serve(
    host: str,
    port: int,
    key_file: Path | None,
    allow_hosts: tuple[str, ...],
    also: tuple[Path, ...],
    queue: int,
    store: Path | None,
    model: str | None,
    device: str | None,
    quiet: bool,
) -> None:
    """Answer over HTTP, as OpenAI's API does.

    The model is loaded once; questions wait for their turn, and documents are read in between. By
    default only this machine can reach the server. Other programs may use the same store meanwhile;
    `mac ask` and `mac search` then ask the server, and load nothing. Ctrl-C ends it.
    docs/serving.md describes every route. Needs the extra maccli[serve].

    \b
    Examples:
      mac serve
      mac serve --store notes --port 9000
      MAC_SERVER_KEY=$(openssl rand -hex 32) mac serve --host 0.0.0.0
      curl http://127.0.0.1:8642/v1/ask --json '{"question": "Who won?"}'
    """
    from maccli.server import run  # FastAPI takes its time

    out = Output(quiet=quiet)
    settings = run.Settings(
        host,
        port,
        key_file,
        allow_hosts,
        [folder.expanduser().absolute() for folder in also],
        queue,
    )
    with options.open_mac(out, store, model, device) as mac:
        run.serve(
            mac,
            settings,
            lambda address: out.text(f"Serving {address}/v1, a web page at {address}/"),
        )

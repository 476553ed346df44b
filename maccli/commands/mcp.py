"""`mac mcp`: the memory for programs that speak the Model Context Protocol."""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path

import click

from maccli.commands import options
from maccli.output import Output

_HOST, _PORT = "127.0.0.1", 8765


@click.command()
@click.option(
    "--http",
    is_flag=True,
    help="Serve streamable HTTP, rather than one client on standard input and output.",
)
@click.option(
    "--host", metavar="HOST", help=f"With --http: the address to listen on.  [default: {_HOST}]"
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="N",
    help=f"With --http: the port; 0 for a free one.  [default: {_PORT}]",
)
@click.option("--writable", is_flag=True, help="Let clients add and delete documents, too.")
@options.where_options
def mcp(
    http: bool,
    host: str | None,
    port: int | None,
    writable: bool,
    store: Path | None,
    model: str | None,
    device: str | None,
) -> None:
    """Give passages and answers to other programs, by MCP.

    A program such as Claude Desktop or VS Code starts this command itself and gets the tools
    search, ask, list_documents and get_document; docs/plugins.md has the lines for it. Nothing is
    loaded before the first question. With --http, the server is for programs on this machine.

    \b
    Examples:
      mac mcp
      mac mcp --store work --writable
      mac mcp --http --port 9000
    """
    if not http and (host is not None or port is not None):
        raise click.UsageError("--host and --port need --http.")
    host = host or _HOST
    local = host in (_HOST, "localhost", "::1")
    if writable and not local:
        raise click.UsageError("--writable is for this machine only: there is no password.")
    from maccli.plugins import mcp as plugin
    from maccli.server.sockets import tcp

    out = Output()
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    with options.open_mac(out, store, model, device) as mac:
        server = plugin.Server(mac, writable=writable)
        if not http:
            if sys.stdin.isatty():
                out.note("Waiting for the messages of an MCP client on standard input.")
            # What waits for standard input cannot be interrupted; the store survives being killed.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            plugin.serve_stdio(server)
            return
        if not local:
            out.warn(f"Whoever reaches {host} can read the store: there is no password.")
        try:
            with tcp.listening(host, _PORT if port is None else port) as listener:
                plugin.serve_http(
                    server, listener, host, lambda url: out.note(f"Serving {url}; Ctrl-C ends it.")
                )
        except KeyboardInterrupt:
            out.note("Stopped.")

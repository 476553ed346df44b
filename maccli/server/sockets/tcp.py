"""An address of this machine to listen at, for `mac serve` and `mac mcp --http`."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from maccli.errors import USAGE, MacError


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Provide a socket at an address, which does not accept anybody yet.

    Args:
        host: a name or an address of this machine.
        port: 0 for any that is free.

    Raises:
        MacError: there is no such address, or another program has it.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError):
        raise MacError(f"{host} is no address of this machine.", exit_code=USAGE) from None
    with socket.socket(family, kind) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError as error:
            raise MacError(
                f"Cannot listen at {host}, port {port}: {(error.strerror or str(error)).lower()}.",
                "Choose another --port, or --port 0 for any that is free.",
            ) from None
        yield listener

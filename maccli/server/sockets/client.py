"""`ask` and `search` by a running `mac serve` of the same store and model, which has it loaded.

Whatever is wrong with the server, the question is answered in this process instead.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from maccli import config
from maccli.api import Answer, Mac, Passage, Source
from maccli.errors import MacError
from maccli.server.sockets import unix
from maccli.service.session import Session
from maccli.service.sources import Place
from models.memory import checkpoint

PATH = "/local/"
"""Of the routes, which only Unix sockets lead to; `ask` or `search` comes after it."""
ACCEPT_SECONDS = 1.0
"""A server that does not accept a connection in this time is left alone."""
SILENCE_SECONDS = 5.0
"""One that says nothing for so long is stopped or stuck: it says every second that it works."""

_COMPARED = ("store", "model", "encoder", "device", "exclude")
"""Settings that are compared by what they lead to, or have nothing to do with answers."""


class ServedMac:
    """Asks and searches as a `Mac` does, by a running server as long as there is one.

    Args:
        mac: chooses store and model, and answers where no server does.
        on_served: called after each answer that came from a server.
    """

    def __init__(self, mac: Mac, on_served: Callable[[], None] | None = None) -> None:
        self._mac = mac
        self._on_served = on_served
        self._served = True

    def ask(
        self, question: str, *, on_text: Callable[[str], None] | None = None, **how: Any
    ) -> Answer:
        """Answer a question. Arguments and errors are those of `Mac.ask`."""
        told = 0

        def tell(piece: str) -> None:
            nonlocal told
            told += len(piece)
            if on_text:
                on_text(piece)

        try:
            fields = self._result("ask", question, how, tell if on_text else None)
            return replace(_answer(fields), model=self._mac.session.choice.model)
        except _NotServedError:
            listener = on_text and _without_first(told, on_text)
            return self._mac.ask(question, on_text=listener, **how)

    def search(self, question: str, **how: Any) -> list[Passage]:
        """Return the passages for a question. Arguments and errors are those of `Mac.search`."""
        try:
            return [_passage(fields) for fields in self._result("search", question, how)]
        except _NotServedError:
            return self._mac.search(question, **how)

    def _result(
        self,
        verb: str,
        question: str,
        how: Mapping[str, Any],
        on_text: Callable[[str], None] | None = None,
    ) -> Any:
        """Return what the server answers.

        Raises:
            MacError: as the method of `Mac` that is called `verb` does.
            _NotServedError: the server does not answer, and will not be asked again.
        """
        for event in self._events(verb, question, how, on_text is not None):
            if "error" in event:
                raise MacError(**event["error"])
            if "result" in event:
                if self._on_served:
                    self._on_served()
                return event["result"]
            if on_text:
                on_text(event["text"])
        self._served = False
        raise _NotServedError

    def _events(
        self, verb: str, question: str, how: Mapping[str, Any], streams: bool
    ) -> Iterator[dict[str, Any]]:
        """Yield what the server says, which may end at any time."""
        if not self._served:
            return
        try:
            path, wanted = unix.find(self._mac.folder), settings()
        except (OSError, MacError):
            return
        body = {
            "identity": identity(self._mac.session),
            "settings": wanted,
            "store": str(self._mac.folder),
            "question": question,
            "how": how,
            "streams": streams,
        }
        try:
            with closing(_Connection(path)) as connection:
                headers = {"Content-Type": "application/json"}
                connection.request("POST", PATH + verb, json.dumps(body), headers)
                response = connection.getresponse()
                if response.status == http.client.OK:
                    for line in filter(bytes.strip, response):
                        yield json.loads(line)
        except (OSError, http.client.HTTPException, ValueError):
            return


def identity(session: Session) -> dict[str, Any]:
    """Return what server and client must have in common, so that both would answer the same."""
    try:
        program = version("maccli")
    except PackageNotFoundError:  # run from a checkout
        program = None
    choice = session.choice
    return {
        "version": program,
        "fingerprint": session.fingerprint,
        "config": checkpoint.read_config(choice.checkpoint),  # the fingerprint covers a part of it
        "device": choice.device,
    }


def settings() -> dict[str, Any]:
    """Return the settings of this process that answers depend on, as far as no request has them.

    Raises:
        MacError: one of them is wrong.
    """
    return {name: config.resolve(name).value for name in config.SETTINGS if name not in _COMPARED}


class _NotServedError(Exception):
    """There is no server that answers."""


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        """Connect; what is sent and received later may take longer than to be accepted."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(ACCEPT_SECONDS)
        self.sock.connect(str(self._path))
        self.sock.settimeout(SILENCE_SECONDS)


def _without_first(told: int, on_text: Callable[[str], None]) -> Callable[[str], None]:
    """Return a listener that passes an answer on without the characters that were told already.

    The server ended in the middle of it; decoding is greedy, so it begins again in the same way.
    """

    def tell(piece: str) -> None:
        nonlocal told
        if piece[told:]:
            on_text(piece[told:])
        told -= min(told, len(piece))

    return tell


def _answer(fields: dict[str, Any]) -> Answer:
    return Answer(**{**fields, "sources": [_source(source) for source in fields["sources"]]})


def _source(fields: dict[str, Any]) -> Source:
    marked = fields["marked"]
    return Source(**{**_with_places(fields), "marked": tuple(marked) if marked else None})


def _passage(fields: dict[str, Any]) -> Passage:
    return Passage(**_with_places(fields))


def _with_places(fields: dict[str, Any]) -> dict[str, Any]:
    also: Sequence[dict[str, str]] = fields["also"]
    return {**fields, "also": tuple(Place(**place) for place in also)}

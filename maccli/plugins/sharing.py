"""One `Mac` for the threads of another program, and what it is told when something fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from maccli import config, errors
from maccli.output import Output

if TYPE_CHECKING:
    from maccli.api import Mac

_ONE_AT_A_TIME = threading.Lock()


@contextmanager
def exclusive(mac: Mac) -> Iterator[Mac]:
    """Let one thread of this process at a time use a `Mac`; the others wait.

    The model stays loaded. The store is closed at the end and opened again by the next one, since a
    connection to it belongs to one thread, and another program may have replaced it meanwhile.
    """
    with _ONE_AT_A_TIME:
        try:
            yield mac
        finally:
            mac.close()


def opened(store: str | Path | None = None, model: str | Path | None = None) -> Mac:
    """Return the `Mac` of a store and a model; the same one each time, so that it loads once.

    Args:
        store: the store's folder; None takes that of the settings.
        model: a checkpoint, by its name or its folder; None takes that of the settings.

    Raises:
        CheckpointError: there is no such model.
        MacError: a setting is wrong.
    """
    folder = config.folder("store", store)
    return _opened(folder, config.text("model", None if model is None else str(model)))


@cache
def _opened(store: Path, model: str) -> Mac:
    from maccli.api import Mac

    return Mac(store, model, tell=Output().tell)


def sentence(error: Exception) -> str:
    """Return what to tell another program of a failure: what is wrong, and the next step."""
    known = errors.explain(error)
    if known is None:
        # What `Mac` says of a tag or a date that is not valid.
        return f"{error}." if type(error) is ValueError else errors.bug(error)
    return " ".join(filter(None, (known.message, known.hint)))

"""The loaded model, lent to one piece of work: every call of it can be delayed or refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from maccli.service.session import Session

if TYPE_CHECKING:
    from models.memory.protocol import LoadedModel

Turn = Callable[[Callable[[], Any]], Any]
"""Calls a function now, later in another thread, or not at all, and returns what it returns."""


class _Lent:
    """An object whose methods are called by way of a turn; its other attributes are read as usual.

    An iterator that a method returns is lent as well: an answer can end between two of its words.
    """

    def __init__(self, lent: Any, turn: Turn) -> None:
        self._lent = lent
        self._turn = turn

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._lent, name)
        return partial(self._call, value) if callable(value) else value

    def __iter__(self) -> _Lent:
        return self

    def __next__(self) -> Any:
        return self._turn(partial(next, self._lent))

    def _call(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = self._turn(partial(method, *args, **kwargs))
        return _Lent(result, self._turn) if hasattr(result, "__next__") else result


class SharedSession(Session):
    """A session on another store with the model, and the judge, that a session has loaded.

    Args:
        loaded: has the model; no store is open in it.
        store: the folder.
        turn: what every call of the model goes through.
    """

    def __init__(self, loaded: Session, store: Path, turn: Turn) -> None:
        # Not made anew: a checkpoint that was changed on the disk since is not the one in memory.
        vars(self).update(vars(loaded))
        self.choice = replace(loaded.choice, store=store, asked=())
        self._lent_model = cast("LoadedModel", _Lent(loaded.model, turn))

    @property
    def model(self) -> LoadedModel:
        """The model."""
        return self._lent_model

"""A checkpoint and a store that belong together, each opened when it is first needed."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from maccli.config import is_url
from maccli.errors import NOTHING_FOUND, MacError, no_documents
from models.memory import checkpoint
from store.errors import StoreNotFoundError
from store.joined import JoinedStores
from store.store import Store

if TYPE_CHECKING:
    from models.judge.judge import Judge
    from models.memory.chosen_encoder import ChosenEncoder
    from models.memory.protocol import LoadedModel
    from models.weights.carriers import Transfer
    from store.joined import AnyStore
    from store.remote.store import RemoteStore

KEY_VARIABLE = "MAC_SERVER_KEY"
"""Holds the key that a server wants to see, here and where it serves."""
KEYS_VARIABLE = "MAC_SERVER_KEYS"
"""Holds `URL=KEY` for each of several servers, divided by spaces: none is shown another's key."""
Tell = Callable[[str], None]
"""Told in a few words what takes a while."""


@dataclass(frozen=True, slots=True)
class StoreAndModel:
    """Which store and which checkpoint.

    Attributes:
        store: the store's folder.
        checkpoint: the checkpoint's folder.
        model: what the user calls the checkpoint.
        device: "auto", "cpu", "cuda" or "mps".
        encoder: the sentence encoder of keys and queries; None for the checkpoint's own.
        precision: of the base LM, "bf16" or "fp32"; None for what is fastest.
        asked: folders or servers' addresses of all stores that are asked as one; empty: `store`.
    """

    store: Path
    checkpoint: Path
    model: str
    device: str = "auto"
    encoder: ChosenEncoder | None = None
    precision: str | None = None
    asked: tuple[Path | str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """The fingerprint of checkpoint and encoder, which a store of theirs has."""
        own = checkpoint.fingerprint(self.checkpoint)
        return own if self.encoder is None else self.encoder.fingerprint(own)

    @property
    def name(self) -> str:
        """What checkpoint and encoder are called, for people to read."""
        return self.model if self.encoder is None else f"{self.model} with {self.encoder.name}"


def store_and_model(
    store: Path,
    model: str,
    *,
    device: str = "auto",
    encoder: str | None = None,
    precision: str | None = None,
    asked: Sequence[Path | str] = (),
    transfer: Transfer | None = None,
) -> StoreAndModel:
    """Return a store with the checkpoint, and the sentence encoder, that names or folders mean.

    Args:
        store: the store's folder.
        model: the checkpoint.
        device: "auto", "cpu", "cuda" or "mps".
        encoder: in place of the checkpoint's own, downloaded if need be; None takes its own.
        precision: of the base LM, "bf16" or "fp32"; None for what is fastest.
        asked: folders or servers' addresses of all stores that are asked as one; empty: `store`.
        transfer: told about downloads.

    Raises:
        CheckpointError: there is no such model.
        WeightsError: the encoder cannot be found, downloaded or read.
    """
    folder = checkpoint.find(model)
    chosen = None
    if encoder is not None:
        from models.memory.chosen_encoder import choose_encoder

        chosen = choose_encoder(encoder, checkpoint.read_config(folder), transfer)
    return StoreAndModel(store, folder, model, device, chosen, precision, tuple(asked))


class Session:
    """A model and a store, kept open over several pieces of work. A context manager.

    Attributes:
        choice: which store and which checkpoint.
        fingerprint: of the checkpoint, and of the encoder if it is not the checkpoint's own.
        load_seconds: how long loading the checkpoint took; 0 as long as it is not loaded.
        patience: seconds to wait for other processes that write to the store.
    """

    def __init__(
        self, choice: StoreAndModel, *, transfer: Transfer | None = None, tell: Tell | None = None
    ) -> None:
        self.choice = choice
        self.fingerprint = choice.fingerprint
        self.load_seconds = 0.0
        self.patience = 30.0
        self._transfer = transfer
        self._tell = tell
        self._model: LoadedModel | None = None
        self._judge: Judge | None = None
        self._store: Store | None = None
        self._joined: JoinedStores | None = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the stores. They are opened again if they are needed once more."""
        for opened in (self._joined, self._store):
            if opened is not None:
                opened.close()
        self._store = self._joined = None

    def beside(self, store: Path) -> Session:
        """Return a session with another store and the model of this one, which is loaded once.

        Raises:
            CheckpointError, ModelError: as for `model`.
        """
        choice = replace(self.choice, store=store, asked=())
        other = Session(choice, transfer=self._transfer, tell=self._tell)
        other._model = self.model
        return other

    @property
    def model(self) -> LoadedModel:
        """The model, loaded at the first use; its frozen base models are loaded at theirs.

        Raises:
            CheckpointError: the checkpoint cannot be used.
            ModelError: there is no such device.
        """
        if self._model is None:
            begun = time.perf_counter()
            self._model = load_model(
                self.choice.checkpoint,
                device=self.choice.device,
                progress=self._transfer,
                tell=self._tell,
                encoder=self.choice.encoder,
                precision=self.choice.precision,
            )
            self.load_seconds = time.perf_counter() - begun
        return self._model

    @property
    def judge(self) -> Judge | None:
        """The judge that the checkpoint names, loaded at the first use; None if it names none.

        Raises:
            CheckpointError: the judge cannot be used.
            WeightsError: the encoder's weights cannot be downloaded or read.
        """
        config = self.model.config
        if self._judge is None and config.judge is not None:
            from models.judge.judge import Judge

            begun = time.perf_counter()
            self._judge = Judge.load(config.judge, self.model.encoder, config.encoder_sha256)
            self.load_seconds += time.perf_counter() - begun
        return self._judge

    @property
    def store(self) -> Store | None:
        """The store that is written to; None as long as there is none.

        Raises:
            StoreError: it cannot be used, or another checkpoint wrote it.
        """
        if self._store is None:
            try:
                self._store = self._open(self.choice.store)
            except StoreNotFoundError:
                return None
        return self._store

    @property
    def asked(self) -> AnyStore | None:
        """The store that is asked, or several of them joined; None if there is none.

        Raises:
            StoreError: one of them cannot be used, or another checkpoint wrote it.
        """
        asked = self.choice.asked
        if asked in ((), (self.choice.store,)):
            return self.store
        if self._joined is None:
            with ExitStack() as opened:
                parts = [opened.enter_context(closing(self._part(each))) for each in asked]
                self._joined = JoinedStores(parts)
                opened.pop_all()
        return self._joined

    def _part(self, store: Path | str) -> Store | RemoteStore:
        if isinstance(store, Path):
            return self._open(store)
        from store.remote.store import RemoteStore  # most have no use for http

        return RemoteStore(store, key=server_key(store), fingerprint=self.fingerprint)

    def _open(self, folder: Path) -> Store:
        return Store.open(
            folder, fingerprint=self.fingerprint, model=self.choice.name, timeout=self.patience
        )

    def require_store(self) -> AnyStore:
        """Return a store that documents can be found in. Loads no model.

        Raises:
            MacError: there is no store, or it is empty.
            StoreError: it cannot be used, or another checkpoint wrote it.
        """
        store = self.asked
        if store is not None and store.count():
            return store
        raise no_documents(self.choice.store, exists=store is not None, exit_code=NOTHING_FOUND)

    def create_store(self) -> Store:
        """Return the store, created if there is none.

        Raises:
            MacError: only servers' stores were chosen, which are not written from here.
        """
        if self.choice.asked and self.choice.store not in self.choice.asked:
            raise MacError(
                "The store of a server can only be asked from here.",
                "Choose a folder, or send documents to the server: POST /v1/documents.",
            )
        if self._store is None:
            config = self.model.config
            self._store = Store.open(
                self.choice.store,
                fingerprint=self.fingerprint,
                model=self.choice.name,
                key_size=config.key_size,
                latent_size=config.latent_size,
                create=True,
                timeout=self.patience,
            )
        return self._store


def server_key(url: str) -> str | None:
    """Return the key to show a server: its own of `KEYS_VARIABLE`, else that of `KEY_VARIABLE`.

    Raises:
        MacError: the former holds something else than addresses and keys.
    """
    for entry in os.environ.get(KEYS_VARIABLE, "").split():
        server, _, key = entry.partition("=")
        if not key or not is_url(server):
            raise MacError(f"{KEYS_VARIABLE} needs URL=KEY for each server, with spaces between")
        if server.lower().split("/")[:3] == url.lower().split("/")[:3]:  # scheme, host and port
            return key
    return os.environ.get(KEY_VARIABLE, "").strip() or None


def silence_libraries() -> None:
    """Keep the progress bars and advice of transformers off our standard error.

    Importing it takes a second, and the default models do not need it: it is told beforehand.
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if "transformers" in sys.modules:
        from transformers.utils import logging

        logging.disable_progress_bar()
        logging.set_verbosity_error()


def load_model(
    path: Path,
    *,
    device: str,
    progress: Transfer | None,
    tell: Tell | None,
    encoder: ChosenEncoder | None = None,
    precision: str | None = None,
) -> LoadedModel:
    """Load a checkpoint of any stack; see `models.stacks.load_model`."""
    try:
        os.getcwd()
    except FileNotFoundError:  # it was removed; transformers looks at it when it is imported
        os.chdir(path)
    from models import stacks

    silence_libraries()
    return stacks.load_model(
        path, device=device, progress=progress, tell=tell, encoder=encoder, precision=precision
    )

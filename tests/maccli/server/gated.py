"""`mac` on the model without networks, which waits while the files `ask` and `ingest` are there.

So a test decides when a server in a process of its own goes on, and starts it without torch.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from conftest import FakeMemory  # type: ignore[import-not-found]
from vocabulary import Vocabulary  # type: ignore[import-not-found]

from maccli import cli
from maccli.service import session


def passing(gate: str) -> None:
    while Path(gate).exists():
        time.sleep(0.01)


class GatedMemory(FakeMemory):  # type: ignore[misc]
    def answer(self, *args: Any, **kwargs: Any) -> Any:
        passing("ask")
        return super().answer(*args, **kwargs)

    def amortize(self, texts: Any, contexts: Any = ()) -> Any:
        if any("feast 9 " in text for text in texts):  # not the first part of a long text
            passing("ingest")
        return super().amortize(texts, contexts)


if seconds := os.environ.get("SECONDS"):  # the longest time that a client may take
    from maccli.server import run, safety

    safety.BODY_SECONDS = run._REQUEST_SECONDS = float(seconds)
session.load_model = lambda *_, **__: GatedMemory(  # type: ignore[assignment]
    batch_tokens=60, vocabulary=Vocabulary()
)
cli.main(sys.argv[1:])
